//! Who sees what.

use plazo_proto::history::v1::{ListClosedTicketsRequest, ListConversationRequest};
use plazo_service::status::reason_of;
use plazo_service::{Actor, ActorKind, Permission, Permissions};
use tonic::{Code, Request};

use crate::events::{closed_ticket, second};
use crate::feed::Feed;
use crate::running::{Running, viewer, viewer_of};

async fn closed_ids(
    history: &Running,
    actor: &Actor,
    message: ListClosedTicketsRequest,
) -> Vec<i64> {
    let request = actor.sign(Request::new(message));
    let response = history.client.clone().list_closed_tickets(request).await;
    let tickets = response.expect("the list is shown").into_inner().tickets;
    tickets.iter().map(|ticket| ticket.ticket_id).collect()
}

#[tokio::test]
async fn nothing_is_seen_outside_of_tenant_and_bots() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    feed.send(closed_ticket(1, 3, 7, 12, second(10)));
    feed.send(closed_ticket(1, 4, 8, 12, second(20)));
    feed.send(closed_ticket(2, 3, 9, 12, second(30)));
    history.ticket_at(&viewer(2), 9, 2).await;

    for (actor, visible) in [
        (viewer(1), vec![8, 7]),
        (viewer_of(1, &[3, 4]), vec![8, 7]),
        (viewer_of(1, &[3]), vec![7]),
        (viewer_of(1, &[5]), vec![]),
        (viewer_of(1, &[]), vec![]),
        (viewer(2), vec![9]),
        (viewer(3), vec![]),
    ] {
        for agent_id in [0, 12] {
            let message = ListClosedTicketsRequest {
                agent_id,
                ..ListClosedTicketsRequest::default()
            };
            assert_eq!(
                closed_ids(&history, &actor, message).await,
                visible,
                "{actor:?}"
            );
        }
        for ticket_id in [7, 8, 9] {
            let is_visible = visible.contains(&ticket_id);
            let ticket = history.ticket(&actor, ticket_id).await;
            assert_eq!(
                ticket.is_ok(),
                is_visible,
                "{actor:?} and ticket {ticket_id}"
            );
            let message = ListConversationRequest {
                ticket_id,
                ..ListConversationRequest::default()
            };
            let request = actor.sign(Request::new(message));
            let conversation = history.client.clone().list_conversation(request).await;
            assert_eq!(
                conversation.is_ok(),
                is_visible,
                "{actor:?} and ticket {ticket_id}"
            );
        }
    }
    // A foreign ticket looks like one that does not exist.
    let foreign = history
        .ticket(&viewer(1), 9)
        .await
        .expect_err("it is another tenant's");
    let absent = history
        .ticket(&viewer(1), 99)
        .await
        .expect_err("it does not exist");
    assert_eq!(
        (foreign.code(), reason_of(&foreign)),
        (absent.code(), reason_of(&absent))
    );
    assert_eq!(foreign.message().replace('9', "99"), absent.message());
}

#[tokio::test]
async fn a_bot_that_is_asked_for_must_be_permitted() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    feed.send(closed_ticket(1, 3, 7, 12, second(10)));
    feed.send(closed_ticket(1, 4, 8, 13, second(20)));
    history.ticket_at(&viewer(1), 8, 2).await;
    let of_bot = |bot_id| ListClosedTicketsRequest {
        bot_id,
        ..ListClosedTicketsRequest::default()
    };
    assert_eq!(closed_ids(&history, &viewer(1), of_bot(3)).await, [7]);
    assert_eq!(
        closed_ids(&history, &viewer_of(1, &[3, 4]), of_bot(4)).await,
        [8]
    );
    let of_agent = ListClosedTicketsRequest {
        agent_id: 13,
        ..of_bot(3)
    };
    assert!(closed_ids(&history, &viewer(1), of_agent).await.is_empty());
    for bot_id in [4, 99] {
        let request = viewer_of(1, &[3]).sign(Request::new(of_bot(bot_id)));
        let refused = history.client.clone().list_closed_tickets(request).await;
        let status = refused.expect_err("the bot is not permitted");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason_of(&status).as_deref(), Some("BOT_NOT_PERMITTED"));
    }
}

#[tokio::test]
async fn the_permission_is_needed_and_a_tenant() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    for (actor, reason) in [
        (
            Actor {
                permissions: Permissions::NONE.with(Permission::TicketsAttend),
                ..viewer(1)
            },
            "PERMISSION_DENIED",
        ),
        (
            Actor {
                kind: ActorKind::Service("mirror".to_owned()),
                ..viewer(0)
            },
            "TENANT_REQUIRED",
        ),
    ] {
        let status = history.ticket(&actor, 7).await;
        let status = status.expect_err("it lacks something");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason_of(&status).as_deref(), Some(reason));
    }
}
