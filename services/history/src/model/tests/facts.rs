//! Each fact of reports, computed by hand.

use std::sync::Arc;

use plazo_domain::{Calendar, CalendarSpec, OpenInterval, WeeklyInterval};
use plazo_proto::common::v1::Channel;
use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::ticketing::v1::{Contact, ContactChanged};

use super::*;

/// Who did something.
const OTHER_AGENT: i64 = 15;

/// Something that happened at an instant, told in short.
enum Did {
    Opened,
    OpenedFor(i64),
    Assigned(i64),
    Customer,
    Agent(i64),
    /// A note by an agent.
    Note(i64),
    Comment(i64),
    Transferred,
    Held,
    Resumed,
    Closed,
    /// With the agent taken away.
    ClosedUnassigning(i64),
    Reopened(i64),
    ReopenedWaiting,
    Superseded(i64),
}

/// Seconds since 2027-01-15 08:00 UTC, a Friday.
fn at(seconds: i64) -> jiff::Timestamp {
    from_proto(Some(second(seconds))).expect("it is valid")
}

/// The record after what happened, each at its second.
fn after(story: &[(i64, Did)], calendar: Option<Calendar>) -> (Record, Changes) {
    let mut calendars = Calendars::default();
    let calendar_version = i64::from(calendar.is_some());
    if let Some(calendar) = calendar {
        let key = CalendarKey {
            tenant_id: 1,
            calendar_version,
        };
        calendars.insert(key, Arc::new(calendar));
    }
    let events = story.iter().zip(1..).map(|((seconds, did), ticket_seq)| {
        let mut event = event(ticket_seq, payload(did, *seconds, calendar_version));
        event.event_time = Some(second(*seconds));
        event
    });
    play_events(events, &calendars)
}

fn payload(did: &Did, seconds: i64, calendar_version: i64) -> Payload {
    let agent = |id| Author {
        kind: AuthorKind::Agent.into(),
        id,
    };
    let opened = |agent_id| {
        Payload::Opened(TicketOpened {
            agent_id,
            calendar_version,
            contact: Some(contact(5, "Ana")),
            ..TicketOpened::default()
        })
    };
    let reopened = |agent_id: i64, state: TicketState, supersedes_close| {
        Payload::Reopened(TicketReopened {
            state: state.into(),
            agent_id,
            supersedes_close,
            ..TicketReopened::default()
        })
    };
    match *did {
        Did::Opened => opened(0),
        Did::OpenedFor(agent_id) => opened(agent_id),
        Did::Assigned(agent_id) => Payload::Assigned(TicketAssigned {
            agent_id,
            ..TicketAssigned::default()
        }),
        Did::Customer => said(CUSTOMER, MessageKind::Chat, seconds),
        Did::Agent(id) => said(agent(id), MessageKind::Chat, seconds),
        Did::Note(id) => said(agent(id), MessageKind::Note, seconds),
        Did::Comment(id) => said(agent(id), MessageKind::Comment, seconds),
        Did::Transferred => Payload::Transferred(TicketTransferred::default()),
        Did::Held => Payload::Held(TicketHeld::default()),
        Did::Resumed => Payload::HoldEnded(HoldEnded::default()),
        Did::Closed => closed_by(0, seconds),
        Did::ClosedUnassigning(agent_id) => closed_by(agent_id, seconds),
        Did::Reopened(agent_id) => reopened(agent_id, TicketState::Open, false),
        Did::ReopenedWaiting => reopened(0, TicketState::Waiting, false),
        Did::Superseded(agent_id) => reopened(agent_id, TicketState::Open, true),
    }
}

fn closed_by(unassigned_agent_id: i64, seconds: i64) -> Payload {
    let closure = Closure {
        close_time: Some(second(seconds)),
        ..Closure::default()
    };
    Payload::Closed(TicketClosed {
        closure: Some(closure),
        unassigned_agent_id,
        ..TicketClosed::default()
    })
}

/// A message that came through the channel long before it was recorded.
fn said(author: Author, kind: MessageKind, seconds: i64) -> Payload {
    let message = Message {
        author: Some(author),
        kind: kind.into(),
        record_time: Some(second(seconds)),
        channel_time: Some(second(seconds - 1_000)),
        ..Message::default()
    };
    Payload::MessageRecorded(MessageRecorded {
        message: Some(message),
        state: TicketState::Unspecified.into(),
        ..MessageRecorded::default()
    })
}

fn contact(contact_id: i64, name: &str) -> Contact {
    Contact {
        contact_id,
        name: name.to_owned(),
        channel_identity: Some(ChannelIdentity {
            channel: Channel::Log.into(),
            address: "ana".to_owned(),
        }),
        ..Contact::default()
    }
}

/// First assignment, first agent message, first close; later responses; handling. In seconds and milliseconds.
#[derive(Debug, PartialEq)]
struct Plain {
    firsts: [Option<i64>; 3],
    later: (i32, i64),
    handling_ms: i64,
}

fn plain(record: &Record) -> Plain {
    let facts = &record.facts;
    let start = at(0).as_second();
    let seconds = |instant: Option<jiff::Timestamp>| instant.map(|it| it.as_second() - start);
    Plain {
        firsts: [
            seconds(facts.first_assigned_at),
            seconds(facts.first_agent_message_at),
            seconds(facts.first_closed_at),
        ],
        later: (facts.later_response_count, facts.later_response_ms),
        handling_ms: facts.handling_ms,
    }
}

/// What is told, what happened, and what the facts are then.
type Example = (
    &'static str,
    Vec<(i64, Did)>,
    ([Option<i64>; 3], (i32, i64), i64),
);

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn facts_are_as_computed_by_hand() {
    use Did::{
        Agent, Assigned, Closed, ClosedUnassigning, Comment, Customer, Held, Note, Opened,
        OpenedFor, Reopened, ReopenedWaiting, Resumed, Superseded, Transferred,
    };
    let examples: Vec<Example> = vec![
        (
            "nobody came",
            vec![(0, Opened), (5, Customer), (60, Closed)],
            ([None, None, Some(60)], (0, 0), 0),
        ),
        (
            "the first response answers what came before it, later ones count from the first unanswered message",
            vec![
                (0, Opened),
                (5, Customer),
                (20, Assigned(12)),
                (30, Agent(12)),
                (40, Customer),
                (45, Customer),
                (50, Agent(12)),
                (55, Agent(12)),
                (60, Customer),
                (67, Agent(12)),
                (90, Closed),
            ],
            ([Some(20), Some(30), Some(90)], (2, 17_000), 70_000),
        ),
        (
            "notes and comments answer nobody",
            vec![
                (0, OpenedFor(12)),
                (1, Note(12)),
                (2, Agent(12)),
                (10, Customer),
                (15, Note(12)),
                (16, Comment(12)),
                (30, Agent(12)),
                (40, Closed),
            ],
            ([Some(0), Some(2), Some(40)], (1, 20_000), 40_000),
        ),
        (
            "a hold is no handling",
            vec![
                (0, OpenedFor(12)),
                (10, Held),
                (40, Resumed),
                (45, Held),
                (50, Closed),
                (50, Resumed),
            ],
            ([Some(0), None, Some(50)], (0, 0), 15_000),
        ),
        (
            "two agents, and a transfer between them",
            vec![
                (0, OpenedFor(12)),
                (10, Assigned(OTHER_AGENT)),
                (30, Transferred),
                (50, Assigned(12)),
                (55, Agent(OTHER_AGENT)),
                (60, Closed),
            ],
            ([Some(0), Some(55), Some(60)], (0, 0), 40_000),
        ),
        (
            "a close ends the span; the first close stays when it is opened again",
            vec![
                (0, OpenedFor(12)),
                (10, Closed),
                (100, Reopened(12)),
                (130, Closed),
            ],
            ([Some(0), None, Some(10)], (0, 0), 40_000),
        ),
        (
            "nobody has it after a close that took the agent away",
            vec![
                (0, OpenedFor(12)),
                (10, ClosedUnassigning(12)),
                (100, Reopened(0)),
                (120, Assigned(12)),
                (125, Closed),
            ],
            ([Some(0), None, Some(10)], (0, 0), 15_000),
        ),
        (
            "who waits is not handled",
            vec![
                (0, OpenedFor(12)),
                (10, Closed),
                (20, ReopenedWaiting),
                (70, Closed),
            ],
            ([Some(0), None, Some(10)], (0, 0), 10_000),
        ),
        (
            "a superseded close never was",
            vec![
                (0, OpenedFor(12)),
                (10, ClosedUnassigning(12)),
                (12, Superseded(12)),
                (12, Customer),
                (15, Agent(12)),
                (30, Closed),
            ],
            ([Some(0), Some(15), Some(30)], (0, 0), 30_000),
        ),
        (
            "an earlier close is not taken away by a superseded one",
            vec![
                (0, OpenedFor(12)),
                (10, Closed),
                (20, Reopened(12)),
                (30, Closed),
                (32, Superseded(12)),
                (40, Closed),
            ],
            ([Some(0), None, Some(10)], (0, 0), 30_000),
        ),
        (
            "a customer waits across a close",
            vec![
                (0, OpenedFor(12)),
                (1, Agent(12)),
                (5, Customer),
                (10, Closed),
                (20, Reopened(12)),
                (25, Agent(12)),
                (30, Closed),
            ],
            ([Some(0), Some(1), Some(10)], (1, 20_000), 20_000),
        ),
    ];
    for (name, story, (firsts, later, handling_ms)) in examples {
        let expected = Plain {
            firsts,
            later,
            handling_ms,
        };
        let (record, _) = after(&story, None);
        assert_eq!(plain(&record), expected, "{name}");
        assert_eq!(record.facts.business, BusinessTimes::default(), "{name}");
    }
}

fn weekdays(time_zone: &str, start_minute: u16, end_minute: u16) -> Calendar {
    let days = jiff::civil::Weekday::Monday.cycle_forward().take(5);
    let week = days.map(|weekday| WeeklyInterval {
        weekday,
        open: OpenInterval {
            start_minute,
            end_minute,
        },
    });
    Calendar::new(CalendarSpec {
        time_zone: time_zone.to_owned(),
        week: week.collect(),
        exceptions: Vec::new(),
    })
    .expect("it is a calendar")
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const HOUR_MS: Option<i64> = Some(HOUR * 1_000);

#[test]
fn business_times_leave_out_the_weekend() {
    assert_eq!(at(0).to_string(), "2027-01-15T08:00:00Z", "a Friday");
    let friday_16 = 8 * HOUR;
    let monday_8 = 3 * DAY;
    let story = [
        (friday_16, Did::Opened),
        // Half an hour of Friday.
        (friday_16 + HOUR / 2, Did::Assigned(12)),
        // All of Friday's hour and half an hour of Monday's.
        (monday_8 + HOUR / 2, Did::Agent(12)),
        (monday_8 + HOUR, Did::Customer),
        (monday_8 + 2 * HOUR, Did::Agent(12)),
        (monday_8 + 3 * HOUR, Did::Closed),
        // Opened again by night and closed at nine.
        (monday_8 + DAY - 3 * HOUR, Did::Reopened(12)),
        (monday_8 + DAY + HOUR, Did::Closed),
    ];
    // Open from 8 to 17.
    let calendar = weekdays("UTC", 480, 1_020);
    let (record, _) = after(&story, Some(calendar));
    let hours = |hours: i64| Some(hours * HOUR * 1_000);
    let expected = BusinessTimes {
        wait_ms: Some(HOUR * 500),
        first_response_ms: Some(HOUR * 1_500),
        later_response_ms: HOUR_MS,
        first_resolution_ms: hours(4),
        // Until Tuesday nine: one, nine and one.
        full_resolution_ms: hours(11),
        // Half an hour of Friday, three hours of Monday, one of Tuesday.
        handling_ms: Some(HOUR * 4_500),
    };
    assert_eq!(record.facts.business, expected);
    assert_eq!(record.facts.calendar_version, 1);
}

#[test]
fn business_times_follow_a_change_of_the_clock() {
    // On Sunday, 28 March 2027, clocks in Berlin go from 2:00 to 3:00.
    let every_day = CalendarSpec {
        time_zone: "Europe/Berlin".to_owned(),
        week: jiff::civil::Weekday::Monday
            .cycle_forward()
            .take(7)
            .map(|weekday| WeeklyInterval {
                weekday,
                open: OpenInterval {
                    start_minute: 60,
                    end_minute: 300,
                },
            })
            .collect(),
        exceptions: Vec::new(),
    };
    let calendar = Calendar::new(every_day).expect("it is a calendar");
    let midnight: jiff::Timestamp = "2027-03-27T23:00:00Z".parse().expect("an instant");
    let opened = midnight.as_second() - at(0).as_second();
    let story = [
        (opened, Did::Opened),
        // Opens at 1:00; 2:30 there is none, so 3:30 is an hour and a half later.
        (opened + 2 * HOUR + HOUR / 2, Did::Assigned(12)),
        // Eight o'clock, after the end at 5:00.
        (opened + 7 * HOUR, Did::Closed),
    ];
    let (record, _) = after(&story, Some(calendar));
    assert_eq!(record.facts.business.wait_ms, Some(HOUR * 1_500));
    assert_eq!(
        record.facts.business.full_resolution_ms,
        Some(3 * HOUR * 1_000),
        "the hour that is left out is no open time"
    );
}

#[test]
fn superseded_closes_leave_no_business_time_either() {
    let story = [
        (0, Did::OpenedFor(12)),
        (HOUR, Did::Closed),
        (2 * HOUR, Did::Superseded(12)),
    ];
    let (record, _) = after(&story, Some(weekdays("UTC", 480, 1_020)));
    let expected = BusinessTimes {
        wait_ms: Some(0),
        later_response_ms: Some(0),
        handling_ms: Some(0),
        ..BusinessTimes::default()
    };
    assert_eq!(record.facts.business, expected);
    assert_eq!(record.facts.handled_since, Some(at(0)), "the span goes on");
}

#[test]
fn the_origin_stays_whatever_comes_later() {
    let transferred = Payload::Transferred(TicketTransferred {
        queue_id: 8,
        ..TicketTransferred::default()
    });
    let events = [event(1, opened()), event(2, transferred)];
    let (record, _) = play_events(events, &Calendars::default());
    let facts = &record.facts;
    assert_eq!((facts.first_queue_id, facts.opened_by), (2, AGENT));
    assert_eq!(record.ticket.queue_id, 8);
}

#[test]
fn a_calendar_that_nobody_knows_is_refused() {
    let opened = Payload::Opened(TicketOpened {
        calendar_version: 9,
        ..TicketOpened::default()
    });
    let refusal = step(None, event(1, opened)).expect_err("there is no such calendar");
    let expected = Refusal::NoCalendar {
        tenant_id: 1,
        calendar_version: 9,
    };
    assert_eq!(refusal, expected);
}

#[test]
fn dealings_are_what_agents_did_and_had() {
    let story = [
        (0, Did::OpenedFor(12)),
        (10, Did::Note(OTHER_AGENT)),
        (20, Did::Assigned(13)),
        (30, Did::Agent(OTHER_AGENT)),
        (40, Did::Transferred),
        (50, Did::Assigned(14)),
        (55, Did::Customer),
        (60, Did::ClosedUnassigning(14)),
        (90, Did::Reopened(0)),
        (95, Did::Closed),
    ];
    let (record, changes) = after(&story, None);
    let dealt: Vec<_> = changes
        .dealings
        .iter()
        .map(|((_, agent_id), last_dealt_at)| (*agent_id, *last_dealt_at))
        .collect();
    // Until somebody else was assigned; until the transfer; until the close; when he last wrote.
    let expected = [
        (12, at(20)),
        (13, at(40)),
        (14, at(60)),
        (OTHER_AGENT, at(30)),
    ];
    assert_eq!(dealt, expected);
    assert_eq!(record.ticket.agent_id, 14);
    assert_eq!(record.facts.assigned_agent_id, 0);
    assert_eq!(record.facts.last_interaction_at, at(95));
}

#[test]
fn a_merge_takes_the_contact_away_and_tells_of_the_other() {
    let renaming = Payload::ContactChanged(ContactChanged {
        contact: Some(contact(8, "Ana Maria")),
        previous_contact_id: 5,
    });
    let mut merge = event(3, renaming);
    merge.event_time = Some(second(70));
    let opened = event(1, payload(&Did::OpenedFor(12), 0, 0));
    let mut written = event(2, payload(&Did::Customer, 60, 0));
    written.event_time = Some(second(60));
    let (record, changes) = play_events([opened, written, merge], &Calendars::default());
    assert_eq!(record.ticket.contact, contact(8, "Ana Maria"));
    assert_eq!(changes.moved, [record.ticket.key]);
    let before = &changes.contacts[&(1, 5)];
    assert!(before.is_merged_away && before.told.is_none());
    let survivor = &changes.contacts[&(1, 8)];
    let told = survivor.told.as_ref().expect("it was told of");
    assert_eq!(told.told_at, at(70));
    assert_eq!(
        survivor.last_interaction_at,
        Some(at(60)),
        "a merge is no interaction, but the ticket's own go over"
    );
}

#[test]
fn a_change_and_a_reopening_tell_of_the_contact() {
    let renaming = Payload::ContactChanged(ContactChanged {
        contact: Some(contact(5, "Ana Lima")),
        previous_contact_id: 0,
    });
    let reopened = Payload::Reopened(TicketReopened {
        state: TicketState::Open.into(),
        contact: Some(contact(5, "Ana Souza")),
        ..TicketReopened::default()
    });
    let mut names = Vec::new();
    let payloads = [
        payload(&Did::Opened, 0, 0),
        renaming,
        closed_by(0, 3),
        reopened,
    ];
    for count in 1..=payloads.len() {
        let events = payloads[..count].iter().zip(1..);
        let events = events.map(|(payload, seq)| event(seq, payload.clone()));
        let (record, changes) = play_events(events, &Calendars::default());
        let told = changes.contacts[&(1, 5)]
            .told
            .clone()
            .expect("it was told of");
        assert_eq!(told.contact.name, record.ticket.contact.name);
        names.push(record.ticket.contact.name);
        assert!(changes.moved.is_empty());
    }
    assert_eq!(names, ["Ana", "Ana Lima", "Ana Lima", "Ana Souza"]);
}

#[test]
fn a_firing_tells_how_late_it_was() {
    let fired = |could_act_time| {
        Payload::StageFired(StageFired {
            stage: 4,
            kind: 1,
            due_time: Some(second(1)),
            could_act_time,
            ..StageFired::default()
        })
    };
    for (could_act_time, late_ms) in [(None, 1_000), (Some(second(2)), 0), (Some(second(9)), 0)] {
        let events = [event(1, opened()), event(2, fired(could_act_time))];
        let (_, changes) = play_events(events, &Calendars::default());
        let firing = &changes.firings[0];
        assert_eq!((firing.stage, firing.cycle_kind), (4, 1));
        assert_eq!((firing.queue_id, firing.bot_id), (2, 3));
        assert_eq!(firing.late_ms, late_ms);
    }
}

#[test]
fn snapshots_may_leave_out_events_but_not_turn_back() {
    let known = step(None, event(1, opened())).expect("it fits");
    let (calendars, mut changes) = (Calendars::default(), Changes::default());
    let mut rising = |found| {
        let event = event(found, closed());
        apply(
            Some(known.clone()),
            event,
            Numbering::Rising,
            &calendars,
            &mut changes,
        )
    };
    assert_eq!(rising(5).expect("it rises").ticket.ticket_seq, 5);
    assert!(rising(1).is_err());
}
