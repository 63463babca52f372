//! Examples of what events make of a ticket.

mod facts;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::{
    ActiveMessageRequested, AutomationPaused, AutomationResumed, ClosingNote, Closure, HoldEnded,
    Message, MessageKind, MessageRecorded, PersonalDataErased, PolicyApplied, StageFired,
    TagsChanged, TicketAssigned, TicketClosed, TicketHeld, TicketOpened, TicketReopened,
    TicketSetOpen, TicketTransferred, TicketUnlinked,
};

use super::storable::storable_list;
use super::*;

const CUSTOMER: Author = Author {
    kind: AuthorKind::Customer as i32,
    id: 5,
};
const AGENT: Author = Author {
    kind: AuthorKind::Agent as i32,
    id: 12,
};

fn event(ticket_seq: i64, payload: Payload) -> TicketEvent {
    TicketEvent {
        event_id: 100 + ticket_seq,
        tenant_id: 1,
        ticket_id: 7,
        ticket_seq,
        author: Some(AGENT),
        event_time: Some(second(ticket_seq)),
        bot_id: 3,
        payload: Some(payload),
    }
}

fn second(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: 1_800_000_000 + seconds,
        nanos: 0,
    }
}

fn opened() -> Payload {
    Payload::Opened(TicketOpened {
        queue_id: 2,
        agent_id: 12,
        ..TicketOpened::default()
    })
}

fn written(author: Author, kind: MessageKind, state: TicketState) -> Payload {
    let message = Message {
        message_id: 1,
        author: Some(author),
        kind: kind.into(),
        text: "olá".to_owned(),
        ..Message::default()
    };
    let message = Some(message);
    Payload::MessageRecorded(MessageRecorded {
        message,
        state: state.into(),
        ..MessageRecorded::default()
    })
}

fn closed() -> Payload {
    let note = ClosingNote {
        category: "billing".to_owned(),
        summary: "paid".to_owned(),
    };
    let closure = Closure {
        close_time: Some(second(50)),
        note: Some(note),
        ..Closure::default()
    };
    Payload::Closed(TicketClosed {
        closure: Some(closure),
        tags: vec!["vip".to_owned()],
        ..TicketClosed::default()
    })
}

/// The ticket after these payloads, and the entries of its conversation.
fn play(payloads: impl IntoIterator<Item = Payload>) -> (Ticket, Vec<Entry>) {
    let events = payloads.into_iter().zip(1..);
    let events = events.map(|(payload, ticket_seq)| event(ticket_seq, payload));
    let (record, changes) = play_events(events, &Calendars::default());
    (record.ticket, changes.entries)
}

fn play_events(
    events: impl IntoIterator<Item = TicketEvent>,
    calendars: &Calendars,
) -> (Record, Changes) {
    let (mut record, mut changes) = (None, Changes::default());
    for event in events {
        let numbering = Numbering::WithoutGaps;
        let after = apply(record, event, numbering, calendars, &mut changes).expect("it fits");
        record = Some(after);
    }
    (record.expect("there was an event"), changes)
}

/// One event without calendars and without an interest in what else it changes.
fn step(known: Option<Record>, event: TicketEvent) -> Result<Record, Refusal> {
    let (calendars, mut changes) = (Calendars::default(), Changes::default());
    apply(
        known,
        event,
        Numbering::WithoutGaps,
        &calendars,
        &mut changes,
    )
}

#[test]
fn a_close_keeps_the_closure_and_an_opening_drops_it() {
    let (ticket, _) = play([opened(), closed()]);
    assert_eq!(ticket.state, TicketState::Closed as i32);
    assert_eq!(ticket.tags, ["vip"]);
    let closure = ticket.closure.clone().expect("it is closed");
    assert_eq!(to_proto(closure.closed_at), second(50));
    assert_eq!(
        closure.note,
        Some(("billing".to_owned(), "paid".to_owned()))
    );

    let reopened = Payload::Reopened(TicketReopened {
        state: TicketState::Waiting.into(),
        ..TicketReopened::default()
    });
    let (ticket, _) = play([opened(), closed(), reopened]);
    assert_eq!(
        (ticket.state, ticket.reopen_count),
        (TicketState::Waiting as i32, 1)
    );
    assert_eq!(
        (ticket.closure, ticket.agent_id),
        (None, 12),
        "the agent is the last one assigned"
    );
}

#[test]
fn a_reopening_counts_once_whichever_events_tell_of_it() {
    let reopened = || {
        Payload::Reopened(TicketReopened {
            state: TicketState::Open.into(),
            agent_id: 12,
            ..TicketReopened::default()
        })
    };
    let message = || written(CUSTOMER, MessageKind::Chat, TicketState::Open);
    let assigned = || {
        Payload::Assigned(TicketAssigned {
            agent_id: 9,
            ..TicketAssigned::default()
        })
    };
    for payloads in [
        vec![opened(), closed(), reopened()],
        vec![opened(), closed(), message()],
        vec![opened(), closed(), assigned()],
        vec![opened(), closed(), reopened(), message()],
        vec![opened(), closed(), message(), reopened(), assigned()],
    ] {
        assert_eq!(play(payloads.clone()).0.reopen_count, 1, "{payloads:?}");
    }
    let (ticket, _) = play([opened(), closed(), reopened(), closed(), message()]);
    assert_eq!(ticket.reopen_count, 2);
}

#[test]
fn a_superseded_close_leaves_no_trace() {
    let Payload::Closed(by_inactivity) = closed() else {
        unreachable!("it is a close")
    };
    let by_inactivity = Payload::Closed(TicketClosed {
        unassigned_agent_id: 12,
        ..by_inactivity
    });
    for agent_id in [0, 12] {
        let reopened = Payload::Reopened(TicketReopened {
            state: TicketState::Waiting.into(),
            agent_id,
            supersedes_close: true,
            tags: vec!["before".to_owned()],
            ..TicketReopened::default()
        });
        let payloads = [
            opened(),
            by_inactivity.clone(),
            reopened,
            written(CUSTOMER, MessageKind::Chat, TicketState::Waiting),
        ];
        let (ticket, _) = play(payloads);
        assert_eq!(ticket.state, TicketState::Waiting as i32);
        assert_eq!((ticket.closure, ticket.reopen_count), (None, 0));
        assert_eq!(ticket.agent_id, agent_id, "as it was before the close");
        assert_eq!(ticket.tags, ["before"]);
    }
}

#[test]
fn the_agent_whom_a_close_takes_away_stays_in_the_history() {
    let unassigns = |agent_id: i64| {
        let Payload::Closed(closed) = closed() else {
            unreachable!("it is a close")
        };
        Payload::Closed(TicketClosed {
            unassigned_agent_id: agent_id,
            ..closed
        })
    };
    for (agent_id, expected) in [(0, 12), (12, 12), (9, 9)] {
        let (ticket, _) = play([opened(), unassigns(agent_id)]);
        assert_eq!(ticket.agent_id, expected);
    }
}

#[test]
fn a_transfer_leaves_the_ticket_waiting_in_its_queue_without_an_agent() {
    let transferred = Payload::Transferred(TicketTransferred {
        queue_id: 8,
        previous_queue_id: 2,
        previous_agent_id: 12,
    });
    let (ticket, entries) = play([opened(), transferred]);
    assert_eq!(
        (ticket.state, ticket.queue_id, ticket.agent_id),
        (TicketState::Waiting as i32, 8, 0)
    );
    assert_eq!(entries, []);
}

#[test]
fn an_unlinked_ticket_stays_until_something_opens_it() {
    let unlinked = || Payload::Unlinked(TicketUnlinked {});
    let (ticket, _) = play([opened(), closed(), unlinked()]);
    assert!(ticket.is_unlinked && ticket.closure.is_some());

    let reopened = Payload::Reopened(TicketReopened {
        state: TicketState::Open.into(),
        ..TicketReopened::default()
    });
    let (ticket, _) = play([opened(), closed(), unlinked(), reopened]);
    assert!(!ticket.is_unlinked);
    assert_eq!(ticket.reopen_count, 1);

    let known = step(None, event(1, opened())).expect("it fits");
    let refusal = step(Some(known), event(2, unlinked())).expect_err("it is open");
    assert!(matches!(refusal, Refusal::Malformed { .. }), "{refusal}");
}

#[test]
fn set_open_opens_and_assigns_nobody() {
    let transferred = Payload::Transferred(TicketTransferred::default());
    let set_open = || Payload::SetOpen(TicketSetOpen {});
    let (ticket, _) = play([opened(), transferred, set_open()]);
    assert_eq!(
        (ticket.state, ticket.agent_id),
        (TicketState::Open as i32, 0)
    );
    let (ticket, _) = play([opened(), closed(), set_open()]);
    assert_eq!((ticket.closure, ticket.reopen_count), (None, 1));
}

#[test]
fn changed_tags_replace_those_before() {
    let changed = Payload::TagsChanged(TagsChanged {
        added: vec!["late".to_owned()],
        removed: vec!["vip".to_owned()],
        tags: vec!["big".to_owned(), "late".to_owned()],
    });
    let (ticket, _) = play([opened(), closed(), changed]);
    assert_eq!(ticket.tags, ["big", "late"]);
    assert!(ticket.closure.is_some(), "a closed ticket stays closed");
}

#[test]
fn what_clocks_do_counts_and_changes_nothing_else() {
    let known = step(None, event(1, opened())).expect("it fits");
    for payload in [
        Payload::AutomationPaused(AutomationPaused::default()),
        Payload::AutomationResumed(AutomationResumed::default()),
        Payload::PolicyApplied(PolicyApplied::default()),
    ] {
        let after = step(Some(known.clone()), event(2, payload)).expect("it fits");
        let mut expected = known.clone();
        expected.ticket.ticket_seq = 2;
        assert_eq!(after, expected);
    }
}

#[test]
fn a_message_in_a_closed_ticket_that_stays_closed_reopens_nothing() {
    let bot = Author {
        kind: AuthorKind::Bot as i32,
        id: 3,
    };
    let (ticket, entries) = play([
        opened(),
        closed(),
        written(bot, MessageKind::Chat, TicketState::Closed),
    ]);
    assert_eq!(
        (ticket.state, ticket.reopen_count),
        (TicketState::Closed as i32, 0)
    );
    assert!(ticket.closure.is_some());
    assert_eq!(entries.len(), 1);
}

#[test]
fn chat_of_both_sides_is_counted_and_notes_and_comments_are_not() {
    let (ticket, entries) = play([
        opened(),
        written(CUSTOMER, MessageKind::Chat, TicketState::Open),
        written(AGENT, MessageKind::Chat, TicketState::Open),
        written(AGENT, MessageKind::Note, TicketState::Open),
        written(AGENT, MessageKind::Comment, TicketState::Open),
        written(CUSTOMER, MessageKind::Unspecified, TicketState::Open),
        written(Author::default(), MessageKind::Chat, TicketState::Open),
    ]);
    assert_eq!(
        (ticket.customer_message_count, ticket.agent_message_count),
        (2, 1)
    );
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    let (chat, note) = (ConversationEntryKind::Chat, ConversationEntryKind::Note);
    let comment = ConversationEntryKind::Comment;
    assert_eq!(kinds, [chat, chat, note, comment, chat, chat]);
    assert_eq!(
        entries[3].clone().into_message().kind(),
        MessageKind::Comment
    );
}

#[test]
fn warnings_and_closing_texts_are_entries_of_the_system() {
    let request = |kind: ActiveMessageKind| {
        let message = ActiveMessage {
            kind: kind.into(),
            text: "still there?".to_owned(),
            image_url: "https://example.com/clock.png".to_owned(),
            ..ActiveMessage::default()
        };
        Payload::ActiveMessageRequested(ActiveMessageRequested {
            message: Some(message),
        })
    };
    let (ticket, entries) = play([
        opened(),
        request(ActiveMessageKind::Warning),
        request(ActiveMessageKind::ClosingText),
        request(ActiveMessageKind::Outreach),
    ]);
    assert_eq!(ticket.ticket_seq, 4);
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            ConversationEntryKind::Warning,
            ConversationEntryKind::ClosingText
        ]
    );
    assert_eq!(entries[0].author.kind(), AuthorKind::System);
    assert_eq!(
        entries[0].attachment_urls,
        ["https://example.com/clock.png"]
    );
    assert_eq!(to_proto(entries[0].recorded_at), second(2));
}

#[test]
fn unknown_payloads_count_and_change_nothing_else() {
    let known = step(None, event(1, opened())).expect("it fits");
    let mut unknown = event(2, Payload::StageFired(StageFired::default()));
    unknown.payload = None;
    let after = step(Some(known.clone()), unknown).expect("it is skipped");
    let mut expected = known;
    expected.ticket.ticket_seq = 2;
    assert_eq!(after, expected);
}

#[test]
fn only_the_next_event_of_a_ticket_fits() {
    let known = step(None, event(1, opened())).expect("it fits");
    for (before, found, expected) in [
        (None, 2, 1),
        (None, 0, 1),
        (Some(known.clone()), 3, 2),
        (Some(known), 1, 2),
    ] {
        let refusal = step(before, event(found, opened())).expect_err("it is out of sequence");
        assert_eq!(
            refusal,
            Refusal::OutOfSequence {
                ticket_id: 7,
                expected,
                found
            }
        );
    }
}

#[test]
fn events_without_what_they_must_have_are_refused() {
    let mut timeless = event(1, opened());
    timeless.event_time = None;
    let mut foreign = event(1, opened());
    foreign.tenant_id = 0;
    let openless = event(1, Payload::Closed(TicketClosed::default()));
    let silent = event(1, Payload::MessageRecorded(MessageRecorded::default()));
    let undue = event(1, Payload::StageFired(StageFired::default()));
    let nobodys = event(
        1,
        Payload::PersonalDataErased(PersonalDataErased::default()),
    );
    for wrong in [timeless, foreign, openless, silent, undue, nobodys] {
        let refusal = step(None, wrong).expect_err("it lacks something");
        assert!(
            matches!(refusal, Refusal::Malformed { event_id: 101, .. }),
            "{refusal}"
        );
    }
}

#[test]
fn texts_that_postgresql_does_not_hold_are_made_storable() {
    let message = Message {
        text: "a\0b".to_owned(),
        ..Message::default()
    };
    let recorded = MessageRecorded {
        message: Some(message),
        ..MessageRecorded::default()
    };
    let (_, entries) = play([opened(), Payload::MessageRecorded(recorded)]);
    assert_eq!(entries[0].text, "a\u{fffd}b");
    let tags = vec![String::new(), "two\u{1f}parts".to_owned()];
    assert_eq!(storable_list(tags), ["two\u{fffd}parts"]);
}

#[test]
fn instants_keep_microseconds_also_before_1970() {
    let exact = prost_types::Timestamp {
        seconds: -2,
        nanos: 999_999_999,
    };
    let at = from_proto(Some(exact)).expect("it is valid");
    assert_eq!(
        to_proto(at),
        prost_types::Timestamp {
            seconds: -2,
            nanos: 999_999_000
        }
    );
    assert_eq!(
        from_proto(Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0
        })),
        None
    );
    assert_eq!(from_proto(None), None);
}
