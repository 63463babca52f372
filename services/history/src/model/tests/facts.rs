//! Each fact of reports, computed by hand.

mod business;
mod contacts;

use std::sync::Arc;

use plazo_domain::Calendar;
use plazo_proto::common::v1::Channel;
use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::ticketing::v1::Contact;

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
