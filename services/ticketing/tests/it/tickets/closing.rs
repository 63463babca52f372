//! Closes: notes, who stays assigned, and late replies that undo a close by inactivity.

mod late;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseSource, CloseTicketRequest, ClosingNote, TicketState, UnlinkTicketRequest,
};

use super::calls::{Change, close_many, pass, set_bot, tag, tag_many, tagging};
use super::{close, closing};
use crate::desk::{Desk, unwarned};
use crate::support::wrong_fields;

fn note(category: &str, summary: &str) -> ClosingNote {
    ClosingNote {
        category: category.to_owned(),
        summary: summary.to_owned(),
    }
}

fn closing_with(ticket_id: i64, note: &ClosingNote) -> CloseTicketRequest {
    CloseTicketRequest {
        note: Some(note.clone()),
        ..closing(ticket_id)
    }
}

fn named(names: std::ops::Range<usize>) -> Vec<String> {
    names.map(|number| format!("tag {number:02}")).collect()
}

#[tokio::test]
async fn a_close_may_exceed_the_limit_of_tags_and_people_may_swap_them_then() {
    let desk = Desk::start().await;
    let mut policy = unwarned();
    policy.auto_close.as_mut().expect("it closes").tags = named(20..40);
    desk.set_policy(policy.clone()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let first: Vec<String> = named(1..21);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    tag(&desk, ticket_id, &first, &[]).await;
    assert_eq!(pass(&desk, ticket_id, 30.0).await[0], "fired Close");
    assert_eq!(desk.ticket(ticket_id).await.tags, named(1..40));

    // A swap is none the more; one more is.
    let swapped = tag(&desk, ticket_id, &["vip"], &["tag 01"]).await;
    assert_eq!(swapped.tags.len(), 39);
    let more = tagging(&[ticket_id], &["one", "two"], &["tag 02"]);
    let (_, refused) = tag_many(&desk.people, more)
        .await
        .expect("answered")
        .remove(0);
    let refused = refused.expect_err("one more");
    let (_, _, field) = refused;
    assert_eq!(field, "add_tags");
    assert_eq!(desk.ticket(ticket_id).await, swapped);

    // Another close adds what fits into twice the limit.
    let close = policy.auto_close.as_mut().expect("it closes");
    close.tags = vec!["first".to_owned(), "second".to_owned()];
    desk.set_policy(policy).await;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(pass(&desk, ticket_id, 30.0).await[0], "fired Close");
    let tags = desk.ticket(ticket_id).await.tags;
    assert_eq!(tags.len(), 40);
    assert!(tags.contains(&"first".to_owned()) && !tags.contains(&"second".to_owned()));
    let fewer = tag(&desk, ticket_id, &[], &["first", "vip"]).await;
    assert_eq!(fewer.tags.len(), 38);
}

#[tokio::test]
async fn a_note_that_is_mandatory_for_people_has_a_category_of_the_list() {
    let desk = Desk::start().await;
    set_bot(
        &desk,
        "note_required = true, note_categories = ARRAY['sale', 'other']",
    )
    .await;
    let before = desk.open().await;
    let ticket_id = before.ticket_id;
    let refused = close(&desk.agent, closing(ticket_id)).await;
    assert_eq!(wrong_fields(refused), ["note"]);
    for (wrong, field) in [
        (note("", ""), "note"),
        (note(" ", "\n"), "note"),
        (note("", "bought two"), "note.category"),
        (note("Sale", ""), "note.category"),
        (note("refund", "bought two"), "note.category"),
    ] {
        let refused = close(&desk.agent, closing_with(ticket_id, &wrong)).await;
        assert_eq!(wrong_fields(refused), [field], "{wrong:?}");
    }
    let unlinking = |note| UnlinkTicketRequest {
        ticket_id,
        note,
        ..Default::default()
    };
    let mut agent = desk.agent.tickets.clone();
    let refused = agent.unlink_ticket(unlinking(None)).await;
    assert_eq!(wrong_fields(refused), ["note"]);
    let wrong = Some(note("refund", ""));
    let refused = agent.unlink_ticket(unlinking(wrong)).await;
    assert_eq!(wrong_fields(refused), ["note.category"]);
    assert_eq!(desk.ticket(ticket_id).await, before);

    let good = note("sale", "");
    let closed = close(&desk.agent, closing_with(ticket_id, &good)).await;
    let closure = closed.expect("closed").closure.expect("a closure");
    assert_eq!(closure.note, Some(good));
    // What is closed already needs no note to be unlinked.
    agent
        .unlink_ticket(unlinking(None))
        .await
        .expect("unlinked");
}

#[tokio::test]
async fn back_ends_need_no_note_and_keep_to_the_list() {
    let desk = Desk::start().await;
    set_bot(
        &desk,
        "note_required = true, note_categories = ARRAY['sale']",
    )
    .await;
    let bot = desk
        .fixture
        .as_actor(&format!("bot/{}", desk.bot_id), "tickets:attend", "*");
    for clients in [&desk.people, &bot] {
        let ticket_id = desk.open().await.ticket_id;
        let wrong = closing_with(ticket_id, &note("refund", ""));
        assert_eq!(wrong_fields(close(clients, wrong).await), ["note.category"]);
        let summary = note("", "bought two");
        let closed = close(clients, closing_with(ticket_id, &summary)).await;
        let closure = closed.expect("closed").closure.expect("a closure");
        assert_eq!(closure.note, Some(summary));
        let ticket_id = desk.open().await.ticket_id;
        let closed = close(clients, closing(ticket_id)).await;
        assert_eq!(closed.expect("closed").closure.expect("it").note, None);
    }
    // Without a list, and without a need, anything goes.
    set_bot(&desk, "note_categories = '{}'").await;
    for free in [note("refund", ""), note("", "bought two")] {
        let ticket_id = desk.open().await.ticket_id;
        let closed = close(&desk.agent, closing_with(ticket_id, &free)).await;
        assert_eq!(
            closed.expect("closed").closure.expect("it").note,
            Some(free)
        );
    }
    set_bot(&desk, "note_required = false").await;
    let ticket_id = desk.open().await.ticket_id;
    close(&desk.agent, closing(ticket_id))
        .await
        .expect("closed");
}

#[tokio::test]
async fn a_batch_of_closes_keeps_to_the_same_rules() {
    let desk = Desk::start().await;
    set_bot(&desk, "note_required = true").await;
    let ticket_id = desk.open().await.ticket_id;
    let request = plazo_proto::ticketing::v1::CloseTicketsRequest {
        ticket_ids: vec![ticket_id],
        ..Default::default()
    };
    let mut items = close_many(&desk.agent, request).await.expect("answered");
    let (_, outcome) = items.pop().expect("an answer");
    let (code, _, field) = outcome.expect_err("no note");
    assert_eq!(
        (code, field),
        (tonic::Code::InvalidArgument, "note".to_owned())
    );
    assert_eq!(desk.ticket(ticket_id).await.state(), TicketState::Waiting);
}

#[tokio::test]
async fn the_agent_goes_when_the_source_is_one_of_the_bots() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    // Agent and customer inactivity.
    set_bot(&desk, "unassign_on_close = ARRAY[1, 3]::smallint[]").await;
    for (source, goes) in [
        (CloseSource::Agent, true),
        (CloseSource::Customer, false),
        (CloseSource::CustomerInactivity, true),
        (CloseSource::Workflow, false),
        (CloseSource::Api, false),
    ] {
        let mut opening = desk.opening();
        opening.agent_id = desk.agent_id;
        let ticket_id = desk.open_as(opening).await.ticket_id;
        desk.writes(ticket_id, AuthorKind::Agent).await;
        let mut request = closing(ticket_id);
        match source {
            CloseSource::CustomerInactivity => {
                pass(&desk, ticket_id, 30.0).await;
            }
            CloseSource::Agent => {
                close(&desk.agent, request).await.expect("closed");
            }
            _ => {
                request.source = source.into();
                close(&desk.people, request).await.expect("closed");
            }
        }
        let closed = desk.ticket(ticket_id).await;
        let closure = closed.closure.as_ref().expect("a closure");
        assert_eq!(closure.source(), source);
        let (stays, gone) = if goes {
            (0, desk.agent_id)
        } else {
            (desk.agent_id, 0)
        };
        assert_eq!(closed.agent_id, stays, "{source:?}");
        let events = desk.events(ticket_id).await;
        let told = events.iter().find_map(|event| match &event.payload {
            Some(Payload::Closed(closed)) => Some(closed.unassigned_agent_id),
            _ => None,
        });
        assert_eq!(told, Some(gone), "{source:?}");
        // Without its agent it waits when the customer returns, and is open when a person opens it.
        let state = if goes {
            TicketState::Waiting
        } else {
            TicketState::Open
        };
        let back = desk.writes(ticket_id, AuthorKind::Customer).await;
        assert_eq!((back.state(), back.agent_id), (state, stays), "{source:?}");
        let closed = Change::Close.make(&desk.people, ticket_id).await;
        closed.expect("closed");
        let back = Change::Reopen.make(&desk.people, ticket_id).await;
        assert_eq!(back.expect("reopened").state(), TicketState::Open);
    }
}
