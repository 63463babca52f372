//! What becomes of a ticket's events.

use plazo_proto::common::v1::Author;
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::notification::v1::ActiveMessageKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseSource, Contact, ContactChanged, MessageKind, StageFired, TagsChanged, TicketAssigned,
    TicketEvent, TicketReopened, TicketState, TicketTransferred, TicketUnlinked,
};

use crate::events::{AGENT, CUSTOMER, SYSTEM, Writer, contact, second};
use crate::feed::Feed;
use crate::rows::run;
use crate::running::{Running, viewer};

#[tokio::test]
async fn the_life_of_a_ticket_is_projected() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    let assigned = Payload::Assigned(TicketAssigned {
        agent_id: 12,
        previous_agent_id: 0,
    });
    let fired = StageFired {
        could_act_time: Some(second(5)),
        ..StageFired::default()
    };
    feed.send(vec![
        ticket.opened(0),
        ticket.written(CUSTOMER, MessageKind::Chat, "hello?"),
        ticket.event(AGENT, Some(assigned)),
        ticket.written(AGENT, MessageKind::Chat, "hello!"),
        ticket.written(AGENT, MessageKind::Note, "seems upset"),
        ticket.event(SYSTEM, Some(Payload::StageFired(fired))),
    ]);
    feed.send(vec![
        ticket.requested(ActiveMessageKind::Warning, "still there?"),
        // A payload of a later version.
        ticket.event(SYSTEM, None),
        ticket.closed(),
        ticket.requested(ActiveMessageKind::ClosingText, "goodbye"),
    ]);

    let known = history.ticket_at(&viewer(1), 7, 10).await;
    assert_eq!(
        (
            known.ticket_id,
            known.bot_id,
            known.queue_id,
            known.agent_id
        ),
        (7, 3, 2, 12)
    );
    assert_eq!(known.contact, Some(contact()));
    assert_eq!(known.state(), TicketState::Closed);
    assert_eq!(known.open_time, Some(second(1)));
    assert_eq!(known.previous_ticket_id, 4);
    assert_eq!(known.tags, ["silent", "vip"]);
    assert_eq!(
        (known.customer_message_count, known.agent_message_count),
        (1, 1)
    );
    assert_eq!((known.reopen_count, known.ticket_seq), (0, 10));
    let closure = known.closure.expect("it is closed");
    assert_eq!(closure.close_time, Some(second(9)));
    assert_eq!(closure.source(), CloseSource::CustomerInactivity);
    assert_eq!(
        (closure.author, closure.exit_route.as_str()),
        (Some(SYSTEM), "goodbye")
    );
    let note = closure.note.expect("a note was left");
    assert_eq!(
        (note.category.as_str(), note.summary.as_str()),
        ("billing", "paid")
    );

    let entries = history.conversation(&viewer(1), 7).await;
    let told: Vec<(ConversationEntryKind, Option<Author>, String, i64)> = entries
        .iter()
        .map(|entry| {
            let message = entry.message.clone().expect("an entry has a message");
            (
                entry.kind(),
                message.author,
                message.text,
                message.ticket_seq,
            )
        })
        .collect();
    let (chat, note) = (ConversationEntryKind::Chat, ConversationEntryKind::Note);
    let (warning, closing) = (
        ConversationEntryKind::Warning,
        ConversationEntryKind::ClosingText,
    );
    assert_eq!(
        told,
        [
            (chat, Some(CUSTOMER), "hello?".to_owned(), 2),
            (chat, Some(AGENT), "hello!".to_owned(), 4),
            (note, Some(AGENT), "seems upset".to_owned(), 5),
            (warning, Some(SYSTEM), "still there?".to_owned(), 7),
            (closing, Some(SYSTEM), "goodbye".to_owned(), 10),
        ]
    );
    let first = entries[0].message.clone().expect("an entry has a message");
    assert_eq!((first.message_id, first.ticket_id), (7_002, 7));
    assert_eq!(
        (first.record_time, first.channel_time),
        (Some(second(2)), Some(second(1)))
    );
    assert_eq!(
        first.attachment_urls,
        ["https://example.com/a", "https://example.com/b"]
    );
    assert_eq!(
        entries[1].message.clone().expect("as above").channel_time,
        None
    );
    history.stop().await;
}

#[tokio::test]
async fn reopenings_are_counted_across_batches() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    feed.send(vec![ticket.opened(12), ticket.closed()]);
    // The customer's message opens it again.
    feed.send(vec![ticket.written(
        CUSTOMER,
        MessageKind::Chat,
        "one more thing",
    )]);
    let open = history.ticket_at(&viewer(1), 7, 3).await;
    assert_eq!((open.state(), open.reopen_count), (TicketState::Open, 1));
    assert_eq!(open.closure, None);

    feed.send(vec![ticket.closed()]);
    let reopened = TicketReopened {
        state: TicketState::Waiting.into(),
        ..TicketReopened::default()
    };
    feed.send(vec![
        ticket.event(AGENT, Some(Payload::Reopened(reopened))),
        ticket.closed(),
    ]);
    let closed = history.ticket_at(&viewer(1), 7, 6).await;
    assert_eq!(
        (closed.state(), closed.reopen_count),
        (TicketState::Closed, 2)
    );
    assert_eq!(
        closed.closure.expect("it is closed").close_time,
        Some(second(6))
    );
}

#[tokio::test]
async fn unlinked_tickets_stay_with_a_flag_and_transfers_and_tags_are_followed() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    let transferred = Payload::Transferred(TicketTransferred {
        queue_id: 8,
        previous_queue_id: 2,
        previous_agent_id: 12,
    });
    feed.send(vec![
        ticket.opened(12),
        ticket.event(AGENT, Some(transferred)),
        ticket.written(AGENT, MessageKind::Comment, "prefers mornings"),
    ]);
    let waiting = history.ticket_at(&viewer(1), 7, 3).await;
    assert_eq!((waiting.queue_id, waiting.agent_id), (8, 0));
    assert!(!waiting.unlinked);
    let entries = history.conversation(&viewer(1), 7).await;
    assert_eq!(entries[0].kind(), ConversationEntryKind::Comment);
    let message = entries[0].message.clone().expect("an entry has a message");
    assert_eq!(message.kind(), MessageKind::Comment);

    let tags = vec!["late".to_owned()];
    let changed = TagsChanged {
        tags: tags.clone(),
        ..TagsChanged::default()
    };
    feed.send(vec![
        ticket.closed(),
        ticket.event(AGENT, Some(Payload::Unlinked(TicketUnlinked {}))),
        ticket.event(AGENT, Some(Payload::TagsChanged(changed))),
    ]);
    let unlinked = history.ticket_at(&viewer(1), 7, 6).await;
    assert!(unlinked.unlinked && unlinked.closure.is_some());
    assert_eq!(unlinked.tags, tags);

    let superseded = TicketReopened {
        state: TicketState::Waiting.into(),
        supersedes_close: true,
        ..TicketReopened::default()
    };
    feed.send(vec![
        ticket.event(CUSTOMER, Some(Payload::Reopened(superseded))),
    ]);
    let open = history.ticket_at(&viewer(1), 7, 7).await;
    assert_eq!((open.state(), open.reopen_count), (TicketState::Waiting, 0));
    assert!(!open.unlinked && open.closure.is_none() && open.tags.is_empty());
}

/// Dealings that do not repeat how their ticket is closed, or what their contact is found by.
const WRONG_DEALINGS: &str = "SELECT count(*) FROM dealings
    JOIN tickets USING (tenant_id, ticket_id)
    LEFT JOIN contacts ON contacts.tenant_id = tickets.tenant_id AND contacts.contact_id = tickets.contact_id
    WHERE (
        dealings.closed_at, dealings.closed_interaction_at, dealings.contact_id, contact_name_key, contact_other_keys
    ) IS DISTINCT FROM (
        tickets.closed_at, CASE WHEN tickets.closed_at IS NOT NULL THEN tickets.last_interaction_at END, tickets.contact_id,
        name_key, other_keys(email_key, phone_digits)
    )";

/// Contacts that are searched by something else than what they are found by.
const WRONG_TEXTS: &str = "SELECT count(*) FROM contacts
    FULL JOIN contact_texts AS text USING (tenant_id, contact_id)
    WHERE (contacts.name_key, contacts.search_text) IS DISTINCT FROM (text.name_key, text.search_text)";

#[tokio::test]
async fn dealings_repeat_how_their_ticket_is_closed_and_who_their_contact_is() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    let assigned = Payload::Assigned(TicketAssigned {
        agent_id: 15,
        previous_agent_id: 12,
    });
    let reopened = |supersedes_close| {
        Payload::Reopened(TicketReopened {
            state: TicketState::Waiting.into(),
            supersedes_close,
            ..TicketReopened::default()
        })
    };
    let staying_closed = |mut event: TicketEvent| {
        if let Some(Payload::MessageRecorded(recorded)) = &mut event.payload {
            recorded.state = TicketState::Closed.into();
        }
        event
    };
    let renamed = |name: &str| {
        Payload::ContactChanged(ContactChanged {
            contact: Some(Contact {
                name: name.to_owned(),
                ..contact()
            }),
            previous_contact_id: 0,
        })
    };
    let merged = Payload::ContactChanged(ContactChanged {
        contact: Some(Contact {
            contact_id: 6,
            name: "João Conceição".to_owned(),
            ..contact()
        }),
        previous_contact_id: 5,
    });
    let events = vec![
        ticket.opened(12),
        ticket.event(SYSTEM, Some(renamed("Ana Lúcia Núñez"))),
        ticket.event(AGENT, Some(assigned)),
        ticket.closed(),
        staying_closed(ticket.written(CUSTOMER, MessageKind::Chat, "thanks")),
        ticket.event(CUSTOMER, Some(reopened(false))),
        ticket.closed(),
        ticket.event(CUSTOMER, Some(reopened(true))),
        ticket.closed(),
        ticket.event(SYSTEM, Some(merged)),
        ticket.written(AGENT, MessageKind::Chat, "once more"),
    ];
    // As often as the ticket was closed or opened, both agents' dealings follow, in whichever batch they were made.
    for event in events {
        let ticket_seq = event.ticket_seq;
        feed.send(vec![event]);
        history.ticket_at(&viewer(1), 7, ticket_seq).await;
        let wrong = run(&history.database, WRONG_DEALINGS).await;
        assert_eq!(wrong.trim(), "0", "after event {ticket_seq}");
        let wrong = run(&history.database, WRONG_TEXTS).await;
        assert_eq!(wrong.trim(), "0", "after event {ticket_seq}");
    }
    let agents = "SELECT count(DISTINCT agent_id) > 1, min(contact_name_key) FROM dealings";
    let agents = run(&history.database, agents).await;
    assert_eq!(agents.trim(), "t|joao conceicao");

    // All in one batch.
    let mut other = Writer::new(1, 3, 8);
    let events = vec![
        other.opened(12),
        other.event(SYSTEM, Some(renamed("Bia Araújo"))),
        other.closed(),
    ];
    feed.send(events);
    history.ticket_at(&viewer(1), 8, 3).await;
    assert_eq!(run(&history.database, WRONG_DEALINGS).await.trim(), "0");
    let keys = "SELECT contact_name_key, contact_other_keys FROM dealings WHERE ticket_id = 8";
    let keys = run(&history.database, keys).await;
    assert_eq!(keys.trim(), "bia araujo| ana@example.com 5511987654321");
}
