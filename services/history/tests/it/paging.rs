//! Pages of lists, and requests that can't be served.

use plazo_proto::history::v1::{
    ListClosedTicketsRequest, ListClosedTicketsResponse, ListConversationRequest,
};
use plazo_proto::ticketing::v1::MessageKind;
use plazo_service::Actor;
use plazo_service::status::{reason_of, violations_of};
use prost_types::Timestamp;
use tonic::{Code, Request, Status};

use crate::events::{CUSTOMER, Writer, closed_ticket, second};
use crate::feed::Feed;
use crate::running::{Running, viewer, viewer_of};

async fn list(
    history: &Running,
    actor: &Actor,
    message: ListClosedTicketsRequest,
) -> Result<ListClosedTicketsResponse, Status> {
    let request = actor.sign(Request::new(message));
    history
        .client
        .clone()
        .list_closed_tickets(request)
        .await
        .map(tonic::Response::into_inner)
}

fn ids(page: &ListClosedTicketsResponse) -> Vec<i64> {
    page.tickets.iter().map(|ticket| ticket.ticket_id).collect()
}

/// Tickets 1 to 9 of one agent and two bots, closed in the order of their ids; 5 and 6, which two pages part, at the same instant.
async fn nine_closed_tickets(feed: &Feed) -> Running {
    let history = Running::fresh(feed).await;
    for ticket_id in 1..=9 {
        let closed_at = second(if ticket_id == 6 { 5 } else { ticket_id });
        feed.send(closed_ticket(
            1,
            3 + ticket_id % 2,
            ticket_id,
            12,
            closed_at,
        ));
    }
    history.ticket_at(&viewer(1), 9, 2).await;
    history
}

#[tokio::test]
async fn pages_stay_stable_while_tickets_are_closed() {
    let feed = Feed::start().await;
    let history = nine_closed_tickets(&feed).await;
    let mut newer = 100;
    for (actor, agent_id) in [
        (viewer(1), 0),
        (viewer_of(1, &[3, 4]), 0),
        (viewer_of(1, &[3, 4]), 12),
    ] {
        let mut message = ListClosedTicketsRequest {
            page_size: 2,
            agent_id,
            closed_until_time: Some(second(50)),
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = list(&history, &actor, message.clone())
                .await
                .expect("the page is shown");
            assert!(page.tickets.len() <= 2);
            seen.extend(ids(&page));
            if page.next_page_token.is_empty() {
                break;
            }
            message.page_token = page.next_page_token;
            // Closed later than everything else: it belongs to the first page, which was shown already.
            feed.send(closed_ticket(1, 3, newer, 12, second(49)));
            history.ticket_at(&viewer(1), newer, 2).await;
            newer += 1;
        }
        let old: Vec<_> = seen
            .into_iter()
            .filter(|ticket_id| *ticket_id < 100)
            .collect();
        assert_eq!(old, [9, 8, 7, 6, 5, 4, 3, 2, 1], "{actor:?}");
    }
}

#[tokio::test]
async fn closing_times_bound_the_list_to_the_nanosecond() {
    let feed = Feed::start().await;
    let history = nine_closed_tickets(&feed).await;
    let just_after = |at: Timestamp| Timestamp {
        nanos: at.nanos + 1,
        ..at
    };
    for (from, until, expected) in [
        (Some(second(7)), None, vec![9, 8, 7]),
        (Some(just_after(second(7))), None, vec![9, 8]),
        (None, Some(second(3)), vec![2, 1]),
        (None, Some(just_after(second(3))), vec![3, 2, 1]),
        (Some(second(4)), Some(second(6)), vec![6, 5, 4]),
    ] {
        for (actor, agent_id) in [(viewer(1), 0), (viewer_of(1, &[3, 4]), 0), (viewer(1), 12)] {
            let message = ListClosedTicketsRequest {
                agent_id,
                closed_from_time: from,
                closed_until_time: until,
                ..Default::default()
            };
            let page = list(&history, &actor, message)
                .await
                .expect("the page is shown");
            assert_eq!(ids(&page), expected);
        }
    }
}

#[tokio::test]
async fn a_long_conversation_pages_by_number_and_by_bytes() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    let long = "ã".repeat(16_384);
    let mut events = vec![ticket.opened(12)];
    events.extend((0..120).map(|_| ticket.written(CUSTOMER, MessageKind::Chat, &long)));
    feed.send(events);
    history.ticket_at(&viewer(1), 7, 121).await;

    let mut message = ListConversationRequest {
        ticket_id: 7,
        page_size: 500,
        ..Default::default()
    };
    let mut sizes = Vec::new();
    loop {
        let request = viewer(1).sign(Request::new(message.clone()));
        let page = history.client.clone().list_conversation(request).await;
        let page = page.expect("the page fits into a message").into_inner();
        sizes.push(page.entries.len());
        if page.next_page_token.is_empty() {
            break;
        }
        message.page_token = page.next_page_token;
    }
    assert_eq!(sizes.iter().sum::<usize>(), 120);
    assert!(
        sizes.len() > 1 && sizes.iter().all(|size| *size > 0),
        "{sizes:?}"
    );

    let message = ListConversationRequest {
        ticket_id: 7,
        page_size: 7,
        ..Default::default()
    };
    let request = viewer(1).sign(Request::new(message));
    let page = history
        .client
        .clone()
        .list_conversation(request)
        .await
        .expect("it is shown");
    assert_eq!(page.into_inner().entries.len(), 7);
}

#[tokio::test]
async fn tokens_are_bound_to_list_tenant_and_filter() {
    let feed = Feed::start().await;
    let history = nine_closed_tickets(&feed).await;
    let first = ListClosedTicketsRequest {
        page_size: 2,
        ..Default::default()
    };
    let token = list(&history, &viewer(1), first.clone())
        .await
        .expect("shown")
        .next_page_token;
    assert!(!token.is_empty());
    let with_token = |page_token: &str| ListClosedTicketsRequest {
        page_token: page_token.to_owned(),
        ..first.clone()
    };
    let other_size = ListClosedTicketsRequest {
        page_size: 5,
        ..with_token(&token)
    };
    list(&history, &viewer(1), other_size)
        .await
        .expect("the size may change");

    let other_agent = ListClosedTicketsRequest {
        agent_id: 12,
        ..with_token(&token)
    };
    let other_time = ListClosedTicketsRequest {
        closed_from_time: Some(second(1)),
        ..with_token(&token)
    };
    for (actor, wrong) in [
        (viewer(1), other_agent),
        (viewer(1), other_time),
        (viewer(2), with_token(&token)),
        (viewer(1), with_token("nonsense")),
        (viewer(1), with_token(&token[1..])),
        (viewer(1), with_token(&"A".repeat(5_000))),
    ] {
        let status = list(&history, &actor, wrong)
            .await
            .expect_err("the token is of no use");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&status).as_deref(), Some("PAGE_TOKEN_INVALID"));
        assert_eq!(violations_of(&status)[0].0, "page_token");
    }
    let conversation = ListConversationRequest {
        ticket_id: 1,
        page_token: token,
        ..Default::default()
    };
    let request = viewer(1).sign(Request::new(conversation));
    let status = history.client.clone().list_conversation(request).await;
    let status = status.expect_err("another list's token");
    assert_eq!(reason_of(&status).as_deref(), Some("PAGE_TOKEN_INVALID"));
}

#[tokio::test]
async fn bad_fields_are_named() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let never = Some(Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    });
    let base = ListClosedTicketsRequest::default;
    for (wrong, fields) in [
        (
            ListClosedTicketsRequest {
                bot_id: -1,
                ..base()
            },
            vec!["bot_id"],
        ),
        (
            ListClosedTicketsRequest {
                agent_id: -1,
                closed_from_time: never,
                ..base()
            },
            vec!["agent_id", "closed_from_time"],
        ),
        (
            ListClosedTicketsRequest {
                closed_from_time: Some(second(2)),
                closed_until_time: Some(second(2)),
                ..base()
            },
            vec!["closed_until_time"],
        ),
        (
            ListClosedTicketsRequest {
                page_size: -1,
                ..base()
            },
            vec!["page_size"],
        ),
    ] {
        let status = list(&history, &viewer(1), wrong)
            .await
            .expect_err("it is wrong");
        assert_eq!(status.code(), Code::InvalidArgument);
        let named: Vec<_> = violations_of(&status)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(named, fields);
    }
    for ticket_id in [0, -7] {
        let status = history
            .ticket(&viewer(1), ticket_id)
            .await
            .expect_err("no ticket's id");
        assert_eq!(violations_of(&status)[0].0, "ticket_id");
        let message = ListConversationRequest {
            ticket_id,
            ..Default::default()
        };
        let request = viewer(1).sign(Request::new(message));
        let status = history.client.clone().list_conversation(request).await;
        assert_eq!(
            violations_of(&status.expect_err("no ticket's id"))[0].0,
            "ticket_id"
        );
    }
    let message = ListConversationRequest {
        ticket_id: 7,
        page_size: -1,
        ..Default::default()
    };
    let request = viewer(1).sign(Request::new(message));
    let status = history.client.clone().list_conversation(request).await;
    assert_eq!(
        violations_of(&status.expect_err("no size"))[0].0,
        "page_size"
    );
}
