//! What customers write by channels: which ticket it goes to, and that each message is recorded once.

use std::collections::HashSet;

use futures::future::join_all;
use plazo_proto::common::v1::{AuthorKind, Channel, ChannelIdentity};
use plazo_proto::ticketing::v1::{
    Alert, Contact, InboundMessage, InboundOutcome, InboundResult, ListMessagesRequest,
    LookUpContactRequest, RecordInboundMessagesRequest, TicketState, Turn,
};

use crate::desk::{Desk, unwarned};
use crate::support::{TENANT, wrong_fields};
use crate::tickets::calls::{Change, at, now, pass, set_bot};

/// Makes one field of a message wrong.
type Spoil = fn(&mut InboundMessage);

const PHONE: &str = "+5511987654321";

/// What somebody writes to the desk's bot by WhatsApp.
fn message(desk: &Desk, provider_message_id: &str) -> InboundMessage {
    InboundMessage {
        tenant_id: TENANT,
        bot_id: desk.bot_id,
        channel_account_id: 3,
        provider_message_id: provider_message_id.to_owned(),
        sender: Some(ChannelIdentity {
            channel: Channel::Whatsapp.into(),
            address: PHONE.to_owned(),
        }),
        sender_name: "Luz".to_owned(),
        text: "Oi".to_owned(),
        ..InboundMessage::default()
    }
}

/// What the desk's contact writes.
fn from_contact(desk: &Desk, provider_message_id: &str) -> InboundMessage {
    InboundMessage {
        sender: Some(ChannelIdentity {
            channel: Channel::Log.into(),
            address: "ana".to_owned(),
        }),
        ..message(desk, provider_message_id)
    }
}

async fn send(desk: &Desk, messages: Vec<InboundMessage>) -> Vec<InboundResult> {
    let request = RecordInboundMessagesRequest { messages };
    let mut client = desk.service.inbound.clone();
    let answer = client.record_inbound_messages(request).await;
    answer.expect("answered").into_inner().results
}

async fn send_one(desk: &Desk, message: InboundMessage) -> (InboundOutcome, i64) {
    let results = send(desk, vec![message]).await;
    assert_eq!(results.len(), 1);
    (results[0].outcome(), results[0].ticket_id)
}

/// Who is reached by WhatsApp under [`PHONE`].
async fn contact(desk: &Desk) -> Option<Contact> {
    let request = LookUpContactRequest {
        channel_identity: message(desk, "").sender,
    };
    let answer = desk.people.contacts.clone().look_up_contact(request).await;
    answer.ok().and_then(|answer| answer.into_inner().contact)
}

/// What was said in a ticket.
async fn texts(desk: &Desk, ticket_id: i64) -> Vec<String> {
    let request = ListMessagesRequest {
        ticket_id,
        page_size: 500,
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().list_messages(request).await;
    let messages = answer.expect("it exists").into_inner().messages;
    messages.into_iter().map(|message| message.text).collect()
}

async fn close_ago(desk: &Desk, ticket_id: i64, interval: &str) {
    sqlx::query(
        "UPDATE tickets SET closed_at = closed_at - $2::text::interval, opened_at = opened_at - $2::text::interval - interval '1 hour'
         WHERE ticket_id = $1",
    )
    .bind(ticket_id)
    .bind(interval)
    .execute(&desk.fixture.pool)
    .await
    .expect("moved");
}

#[tokio::test]
async fn a_message_stops_the_clock_of_the_open_ticket_and_is_recorded_once() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let story = pass(&desk, ticket_id, 10.0).await;
    assert_eq!(story[0], "fired FirstAlert");
    assert_eq!(desk.ticket(ticket_id).await.alert(), Alert::Yellow);

    let first = send_one(&desk, from_contact(&desk, "m1")).await;
    assert_eq!(first, (InboundOutcome::Recorded, ticket_id));
    let ticket = desk.ticket(ticket_id).await;
    assert_eq!(ticket.alert(), Alert::Unspecified);
    assert!(ticket.inactivity_cycle.is_none() && ticket.last_customer_message_time.is_some());
    assert_eq!(ticket.turn(), Turn::Agent);

    // However often and however late it comes.
    desk.writes(ticket_id, AuthorKind::Agent).await;
    let before = desk.whole_story(ticket_id).await;
    for _ in 0..3 {
        let again = send_one(&desk, from_contact(&desk, "m1")).await;
        assert_eq!(again, (InboundOutcome::Duplicate, ticket_id));
    }
    assert_eq!(desk.whole_story(ticket_id).await, before);
    assert!(desk.ticket(ticket_id).await.inactivity_cycle.is_some());

    // The name is one of the channel account: another account's message is another message.
    let other = InboundMessage {
        channel_account_id: 4,
        ..from_contact(&desk, "m1")
    };
    let taken = send_one(&desk, other).await;
    assert_eq!(taken, (InboundOutcome::Recorded, ticket_id));
}

#[tokio::test]
async fn messages_of_a_batch_keep_their_order_and_stop_none_of_each_other() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let text = |id: &str, text: &str| InboundMessage {
        text: text.to_owned(),
        ..from_contact(&desk, id)
    };
    let mut ill_formed = text("bad", "");
    ill_formed.sender_name = "x".repeat(1_000);
    let nobody = InboundMessage {
        bot_id: desk.bot_id + 1_000,
        ..text("nobody", "x")
    };
    let results = send(
        &desk,
        vec![
            text("1", "one"),
            ill_formed,
            text("2", "two"),
            text("1", "one again"),
            nobody,
            message(&desk, "stranger"),
            text("3", "three"),
        ],
    )
    .await;
    let outcomes: Vec<_> = results.iter().map(InboundResult::outcome).collect();
    assert_eq!(
        outcomes,
        [
            InboundOutcome::Recorded,
            InboundOutcome::Invalid,
            InboundOutcome::Recorded,
            InboundOutcome::Duplicate,
            InboundOutcome::Invalid,
            InboundOutcome::Ignored,
            InboundOutcome::Recorded,
        ]
    );
    assert_eq!(results[1].invalid_field, "text");
    assert_eq!(results[4].invalid_field, "bot_id");
    assert_eq!(results[3].ticket_id, ticket_id);
    assert_eq!(texts(&desk, ticket_id).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn only_where_the_bot_says_so_a_message_opens_a_ticket() {
    let desk = Desk::start().await;
    let ignored = send_one(&desk, message(&desk, "m1")).await;
    assert_eq!(ignored, (InboundOutcome::Ignored, 0));
    assert!(contact(&desk).await.is_none(), "nobody is created for it");

    set_bot(&desk, "open_ticket_on_inbound = true").await;
    // What was ignored stays so: its repetition is no new message.
    let again = send_one(&desk, message(&desk, "m1")).await;
    assert_eq!(again, (InboundOutcome::Duplicate, 0));

    let (outcome, ticket_id) = send_one(&desk, message(&desk, "m2")).await;
    assert_eq!(outcome, InboundOutcome::Recorded);
    let ticket = desk.ticket(ticket_id).await;
    assert_eq!(ticket.state(), TicketState::Waiting);
    assert_eq!((ticket.bot_id, ticket.previous_ticket_id), (desk.bot_id, 0));
    let contact = contact(&desk).await.expect("created");
    assert_eq!((&*contact.name, &*contact.phone), ("Luz", PHONE));
    assert_eq!(ticket.contact_id, contact.contact_id);
    let story = desk.story(ticket_id).await;
    assert!(
        story[0].starts_with("opened") && story[1] == "Customer wrote",
        "{story:?}"
    );
    // The next one goes there, whatever the sender calls himself by now.
    let next = InboundMessage {
        sender_name: "Sol".to_owned(),
        ..message(&desk, "m3")
    };
    assert_eq!(send_one(&desk, next).await.1, ticket_id);
}

#[tokio::test]
async fn without_a_bot_it_is_for_those_that_send_by_the_account() {
    let desk = Desk::start().await;
    let unnamed = |id: &str| InboundMessage {
        bot_id: 0,
        ..message(&desk, id)
    };
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let nobodys = send_one(&desk, unnamed("m1")).await;
    assert_eq!(nobodys, (InboundOutcome::Ignored, 0));

    let other_id = desk.people.clone().create_bot("Compras").await.bot_id;
    sqlx::query("UPDATE bots SET channel_account_id = 3")
        .execute(&desk.fixture.pool)
        .await
        .expect("updated");
    let (outcome, ticket_id) = send_one(&desk, unnamed("m2")).await;
    assert_eq!(outcome, InboundOutcome::Recorded);
    let ticket = desk.ticket(ticket_id).await;
    assert_eq!(ticket.bot_id, desk.bot_id, "the only one that opens");

    // His open ticket decides, whichever bot's it is.
    Change::Close
        .make(&desk.people, ticket_id)
        .await
        .expect("closed");
    let mut opening = desk.opening();
    opening.bot_id = other_id;
    opening.contact_id = ticket.contact_id;
    let other_ticket_id = desk.open_as(opening).await.ticket_id;
    let taken = send_one(&desk, unnamed("m3")).await;
    assert_eq!(taken, (InboundOutcome::Recorded, other_ticket_id));
    // Another account's message is for other bots.
    let elsewhere = InboundMessage {
        channel_account_id: 4,
        ..unnamed("m4")
    };
    assert_eq!(send_one(&desk, elsewhere).await.0, InboundOutcome::Ignored);
}

#[tokio::test]
async fn many_copies_at_once_make_one_contact_one_ticket_and_one_message_each() {
    let desk = Desk::start().await;
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let copies = (0..40).map(|n| {
        let id = format!("m{}", n % 5);
        let copy = InboundMessage {
            text: id.clone(),
            ..message(&desk, &id)
        };
        send_one(&desk, copy)
    });
    let taken = join_all(copies).await;
    let recorded = taken
        .iter()
        .filter(|(outcome, _)| *outcome == InboundOutcome::Recorded);
    assert_eq!(recorded.count(), 5);
    let tickets: HashSet<i64> = taken.iter().map(|(_, ticket_id)| *ticket_id).collect();
    assert_eq!(tickets.len(), 1, "{taken:?}");
    let mut texts = texts(&desk, taken[0].1).await;
    texts.sort();
    assert_eq!(texts, ["m0", "m1", "m2", "m3", "m4"]);
}

#[tokio::test]
async fn a_closed_ticket_is_opened_again_within_its_window_and_continued_after_it() {
    let desk = Desk::start().await;
    let old_id = desk.open().await.ticket_id;
    Change::Close
        .make(&desk.people, old_id)
        .await
        .expect("closed");
    let taken = send_one(&desk, from_contact(&desk, "m1")).await;
    assert_eq!(taken, (InboundOutcome::Recorded, old_id));
    assert!(desk.ticket(old_id).await.state() != TicketState::Closed);

    Change::Close
        .make(&desk.people, old_id)
        .await
        .expect("closed");
    close_ago(&desk, old_id, "25 hours").await;
    let ignored = send_one(&desk, from_contact(&desk, "m2")).await;
    assert_eq!(ignored, (InboundOutcome::Ignored, 0));
    assert_eq!(desk.ticket(old_id).await.state(), TicketState::Closed);

    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let (outcome, new_id) = send_one(&desk, from_contact(&desk, "m3")).await;
    assert_eq!(outcome, InboundOutcome::Recorded);
    assert_eq!(desk.ticket(new_id).await.previous_ticket_id, old_id);

    // One that is open goes before a closed one that came later.
    let later_id = desk.open().await.ticket_id;
    Change::Close
        .make(&desk.people, later_id)
        .await
        .expect("closed");
    assert_eq!(send_one(&desk, from_contact(&desk, "m4")).await.1, new_id);

    // An unlinked one is never opened again.
    Change::Unlink
        .make(&desk.people, new_id)
        .await
        .expect("unlinked");
    set_bot(
        &desk,
        "open_ticket_on_inbound = false, reopen_window_value = 1",
    )
    .await;
    let (outcome, ticket_id) = send_one(&desk, from_contact(&desk, "m5")).await;
    assert_eq!(
        (outcome, ticket_id),
        (InboundOutcome::Recorded, later_id),
        "the last one that may be opened"
    );
    Change::Unlink
        .make(&desk.people, later_id)
        .await
        .expect("unlinked");
    let ignored = send_one(&desk, from_contact(&desk, "m6")).await;
    assert_eq!(ignored, (InboundOutcome::Ignored, 0));
}

#[tokio::test]
async fn a_message_that_was_written_before_the_close_supersedes_it() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    set_bot(&desk, "reopen_window_value = 1, reopen_window_unit = 1").await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert_eq!(pass(&desk, ticket_id, 30.0).await[0], "fired Close");
    close_ago(&desk, ticket_id, "10 seconds").await;
    // Too late to open it again, and written after the close.
    let now_us = now(&desk).await;
    let after = InboundMessage {
        sent_time: Some(at(now_us - 1_000_000)),
        ..from_contact(&desk, "after")
    };
    assert_eq!(send_one(&desk, after).await.0, InboundOutcome::Ignored);
    let before = InboundMessage {
        sent_time: Some(at(now_us - 15_000_000)),
        ..from_contact(&desk, "before")
    };
    let before = send_one(&desk, before).await;
    assert_eq!(before, (InboundOutcome::Recorded, ticket_id));
    let story = desk.story(ticket_id).await;
    assert!(
        story.contains(&"close superseded, Open".to_owned()),
        "{story:?}"
    );
}

#[tokio::test]
async fn sent_times_out_of_order_or_impossible_do_no_harm() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let now_us = now(&desk).await;
    for (id, sent_us) in [
        ("future", now_us + 3_600_000_000),
        ("past", now_us - 400 * 86_400_000_000),
        ("now", now_us),
        ("before", now_us - 5_000_000),
    ] {
        let message = InboundMessage {
            sent_time: Some(at(sent_us)),
            ..from_contact(&desk, id)
        };
        let taken = send_one(&desk, message).await;
        assert_eq!(taken, (InboundOutcome::Recorded, ticket_id), "{id}");
        let last = desk.ticket(ticket_id).await.last_customer_message_time;
        let last = last.expect("he wrote");
        let last_us = last.seconds * 1_000_000 + i64::from(last.nanos) / 1_000;
        assert!(last_us >= now_us && last_us < now_us + 60_000_000, "{id}");
    }
}

#[tokio::test]
async fn a_message_touches_nothing_of_other_tenants() {
    let desk = Desk::start().await;
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let mine = send_one(&desk, message(&desk, "m1")).await;
    let foreign = InboundMessage {
        tenant_id: TENANT + 1,
        ..message(&desk, "m2")
    };
    let results = send(&desk, vec![foreign]).await;
    assert_eq!(results[0].outcome(), InboundOutcome::Invalid);
    assert_eq!(results[0].invalid_field, "bot_id");
    // The same name in another tenant is another message.
    let mut other = desk.fixture.administrator_of(TENANT + 1);
    let bot_id = other.create_bot("Outro").await.bot_id;
    sqlx::query("UPDATE bots SET open_ticket_on_inbound = true")
        .execute(&desk.fixture.pool)
        .await
        .expect("updated");
    let there = InboundMessage {
        tenant_id: TENANT + 1,
        bot_id,
        ..message(&desk, "m1")
    };
    let taken = send(&desk, vec![there, message(&desk, "m3")]).await;
    assert_eq!(taken[0].outcome(), InboundOutcome::Recorded);
    assert_ne!(taken[0].ticket_id, mine.1);
    assert_eq!(taken[1].ticket_id, mine.1);
}

#[tokio::test]
async fn ill_formed_messages_and_batches_are_refused_with_field_and_reason() {
    let desk = Desk::start().await;
    let mut client = desk.service.inbound.clone();
    let empty = RecordInboundMessagesRequest { messages: vec![] };
    assert_eq!(
        wrong_fields(client.record_inbound_messages(empty).await),
        ["messages"]
    );
    let too_many = RecordInboundMessagesRequest {
        messages: vec![message(&desk, "m"); 201],
    };
    assert_eq!(
        wrong_fields(client.record_inbound_messages(too_many).await),
        ["messages"]
    );
    let spoilt: [(&str, Spoil); 12] = [
        ("tenant_id", |it| it.tenant_id = 0),
        ("bot_id", |it| it.bot_id = -1),
        ("channel_account_id", |it| it.channel_account_id = 0),
        ("provider_message_id", |it| it.provider_message_id.clear()),
        ("provider_message_id", |it| {
            it.provider_message_id = "x".repeat(257);
        }),
        ("provider_message_id", |it| {
            it.provider_message_id = "a\nb".to_owned();
        }),
        ("sender", |it| it.sender = None),
        ("sender.address", |it| {
            it.sender = Some(ChannelIdentity {
                channel: Channel::Whatsapp.into(),
                address: "5511".to_owned(),
            });
        }),
        ("text", |it| it.text.clear()),
        ("text", |it| it.text = "x".repeat(16_385)),
        ("attachment_urls[0]", |it| {
            it.attachment_urls = vec!["ftp://x".to_owned()];
        }),
        ("sent_time", |it| {
            it.sent_time = Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            });
        }),
    ];
    let messages = spoilt.iter().map(|(_, spoil)| {
        let mut message = message(&desk, "m");
        spoil(&mut message);
        message
    });
    let results = send(&desk, messages.collect()).await;
    for (result, (field, _)) in results.iter().zip(&spoilt) {
        assert_eq!(result.outcome(), InboundOutcome::Invalid, "{field}");
        assert_eq!(result.invalid_field, *field);
        assert!(!result.invalid_reason.is_empty());
    }
}
