//! What is shown of a ticket and of a contact.

use plazo_proto::common::v1::{Author, AuthorKind, Channel};
use plazo_proto::history::v1::{
    ContactComment, ConversationEntryKind, GetContactHistoryRequest, GetContactHistoryResponse,
    ListContactTicketsRequest, ListConversationRequest, TicketTimes,
};
use plazo_service::Actor;
use prost_types::Duration;
use tonic::Request;

use crate::feed::Feed;
use crate::rows::{ContactRow, Rows, TicketRow};
use crate::running::{Running, agent, viewer};

const COMMENT: i32 = ConversationEntryKind::Comment as i32;

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn milliseconds(milliseconds: i64) -> Option<Duration> {
    Some(Duration {
        seconds: milliseconds / 1_000,
        nanos: i32::try_from(milliseconds % 1_000).expect("below a thousand") * 1_000_000,
    })
}

#[tokio::test]
async fn a_ticket_is_shown_with_its_origin_and_times() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    Rows::default()
        .grant(12)
        .attended(&TicketRow::closed(7, "timestamptz '2026-03-02T10:00:00Z'"))
        .add(
            "UPDATE tickets SET
                opened_at = '2026-03-02T08:00:00Z', first_assigned_at = '2026-03-02T08:00:30.5Z',
                first_agent_message_at = '2026-03-02T08:01:00Z', first_closed_at = '2026-03-02T09:00:00Z',
                later_response_count = 3, later_response_ms = 10000, handling_ms = 3600000,
                first_queue_id = 21, queue_id = 22, opened_by_kind = 3, opened_by_id = 3, contact_channel = 3,
                contact_name = 'Ana', previous_ticket_id = 4, last_interaction_at = '2026-03-02T10:00:01Z';",
        )
        .save(&history.database)
        .await;
    let ticket = history.ticket(&viewer(1), 7).await.expect("it is shown");
    let origin = ticket.origin.expect("it is set");
    assert_eq!(
        (origin.queue_id, ticket.queue_id, ticket.previous_ticket_id),
        (21, 22, 4)
    );
    assert_eq!(origin.channel(), Channel::Whatsapp);
    let bot = Author {
        kind: AuthorKind::Bot.into(),
        id: 3,
    };
    assert_eq!(origin.opened_by, Some(bot));
    let expected = TicketTimes {
        wait_time: milliseconds(30_500),
        first_response_time: milliseconds(60_000),
        average_response_time: milliseconds(3_333),
        first_resolution_time: milliseconds(3_600_000),
        full_resolution_time: milliseconds(7_200_000),
        handling_time: milliseconds(3_600_000),
    };
    assert_eq!(ticket.times, Some(expected));
    assert_eq!(ticket.business_times, None);
    let last = ticket.last_interaction_time.expect("it is set");
    assert_eq!(
        last.seconds - ticket.open_time.expect("it is set").seconds,
        7_201
    );

    Rows::default()
        .add(
            "UPDATE tickets SET
                calendar_version = 9, business_wait_ms = 0, business_later_response_ms = 4500,
                business_first_resolution_ms = 1500, business_full_resolution_ms = 2500, business_handling_ms = 500;",
        )
        .save(&history.database)
        .await;
    let ticket = history.ticket(&viewer(1), 7).await.expect("it is shown");
    let expected = TicketTimes {
        wait_time: milliseconds(0),
        first_response_time: None,
        average_response_time: milliseconds(1_500),
        first_resolution_time: milliseconds(1_500),
        full_resolution_time: milliseconds(2_500),
        handling_time: milliseconds(500),
    };
    assert_eq!(ticket.business_times, Some(expected));
}

#[tokio::test]
async fn what_has_not_happened_has_no_time() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let open = TicketRow {
        closed_at: None,
        ..TicketRow::closed(7, "now()")
    };
    Rows::default().ticket(&open).save(&history.database).await;
    let ticket = history.ticket(&viewer(1), 7).await.expect("it is shown");
    let expected = TicketTimes {
        handling_time: milliseconds(0),
        ..TicketTimes::default()
    };
    assert_eq!((ticket.times, ticket.closure), (Some(expected), None));
}

/// Contact 5 with tickets 1 to 4 of agents 12 and 13, the last of them not visible to agents yet, and comments in each.
async fn commented() -> (Feed, Running) {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut rows = Rows::default();
    rows.grant(12).contact(&ContactRow {
        email: "ana@exemplo.com.br".to_owned(),
        phone: "+5511987654321".to_owned(),
        last_interaction_at: "now() - interval '1 hour'".to_owned(),
        ..ContactRow::named(5, "Ana Conceição")
    });
    for ticket_id in 1..=4_i64 {
        let hours = if ticket_id == 4 {
            1
        } else {
            24 * (4 - ticket_id)
        };
        let closed_at = format!("(now() - interval '{hours} hours')");
        let agent_id = 12 + ticket_id % 2;
        let ticket = TicketRow {
            agent_id,
            bot_id: 2 + agent_id % 10,
            ..TicketRow::closed(ticket_id, &closed_at)
        };
        rows.attended(&ticket);
        for (seq, kind) in [(1, 1), (2, COMMENT), (3, 2), (4, COMMENT)] {
            let text = format!("{ticket_id}/{seq}");
            let at = format!("{closed_at} + interval '{seq} seconds'");
            rows.entry(&ticket, seq, kind, agent_id, &text, &at);
        }
    }
    rows.save(&history.database).await;
    (feed, history)
}

async fn contact_page(
    history: &Running,
    actor: &Actor,
    page_size: i32,
    page_token: &str,
) -> GetContactHistoryResponse {
    let request = actor.sign(Request::new(GetContactHistoryRequest {
        contact_id: 5,
        page_size,
        page_token: page_token.to_owned(),
    }));
    let answer = history.client.clone().get_contact_history(request).await;
    answer.expect("the contact is shown").into_inner()
}

/// Text and author of a comment.
fn told(comment: &ContactComment) -> (String, i64) {
    let message = comment.message.clone().expect("it is set");
    assert!(message.record_time.is_some());
    let author = message.author.expect("it is set").id;
    assert_eq!(author, 12 + message.ticket_id % 2);
    assert_eq!(comment.bot_id, 2 + author % 10);
    (message.text, message.ticket_id)
}

#[tokio::test]
async fn a_contact_is_shown_with_the_comments_of_all_agents() {
    let (_feed, history) = commented().await;
    let seen = ["3/4", "3/2", "2/4", "2/2", "1/4", "1/2"];
    let all = ["4/4", "4/2", "3/4", "3/2", "2/4", "2/2", "1/4", "1/2"];
    for (actor, expected) in [(agent(12, &[4, 5]), &seen[..]), (viewer(1), &all[..])] {
        let mut comments = Vec::new();
        let mut token = String::new();
        loop {
            let page = contact_page(&history, &actor, 4, &token).await;
            let contact = page.contact.expect("it is set").contact.expect("it is set");
            assert_eq!(contact.name, "Ana Conceição");
            assert_eq!(contact.email, "ana@exemplo.com.br");
            assert_eq!(contact.phone, "+5511987654321");
            assert_eq!(
                contact.channel_identity.expect("it is set").channel(),
                Channel::Whatsapp
            );
            assert!(page.comments.len() <= 4);
            comments.extend(page.comments.iter().map(|comment| told(comment).0));
            if page.next_page_token.is_empty() {
                break;
            }
            token = page.next_page_token;
        }
        assert_eq!(comments, expected, "{actor:?}");
    }
    // An agent is told the last interaction that he sees, others the last of all.
    let last = async |actor: &Actor| {
        let contact = contact_page(&history, actor, 1, "").await.contact;
        let last = contact.expect("it is set").last_interaction_time;
        last.expect("there is one").seconds
    };
    let hours = (last(&viewer(1)).await - last(&agent(12, &[4, 5])).await) / 3_600;
    assert_eq!(hours, 23);
    // Within his bots only.
    let of_one_bot = contact_page(&history, &agent(12, &[4]), 0, "").await;
    let texts: Vec<_> = of_one_bot
        .comments
        .iter()
        .map(|comment| told(comment).0)
        .collect();
    assert_eq!(texts, ["2/4", "2/2"]);
}

#[tokio::test]
async fn a_contact_s_tickets_page_by_bot_the_last_opened_first() {
    let (_feed, history) = commented().await;
    for (actor, bot_id, expected) in [
        (agent(12, &[4, 5]), 0, vec![3, 2, 1]),
        (agent(12, &[4, 5]), 5, vec![3, 1]),
        (agent(12, &[4, 5]), 4, vec![2]),
        (viewer(1), 0, vec![4, 3, 2, 1]),
        (viewer(1), 4, vec![4, 2]),
        (viewer(1), 9, vec![]),
    ] {
        let mut message = ListContactTicketsRequest {
            contact_id: 5,
            bot_id,
            page_size: 1,
            ..ListContactTicketsRequest::default()
        };
        let mut ids = Vec::new();
        loop {
            let request = actor.sign(Request::new(message.clone()));
            let page = history.client.clone().list_contact_tickets(request).await;
            let page = page.expect("the tickets are listed").into_inner();
            ids.extend(page.tickets.iter().map(|ticket| ticket.ticket_id));
            if page.next_page_token.is_empty() {
                break;
            }
            message.page_token = page.next_page_token;
        }
        assert_eq!(ids, expected, "{actor:?} {bot_id}");
    }
}

#[tokio::test]
async fn a_conversation_is_read_from_either_end() {
    let (_feed, history) = commented().await;
    for (newest_first, expected) in [(false, [1, 2, 3, 4]), (true, [4, 3, 2, 1])] {
        let mut message = ListConversationRequest {
            ticket_id: 3,
            page_size: 3,
            newest_first,
            ..ListConversationRequest::default()
        };
        let mut seqs = Vec::new();
        loop {
            let request = agent(12, &[5]).sign(Request::new(message.clone()));
            let page = history.client.clone().list_conversation(request).await;
            // Agent 12 has no dealing in bot 5.
            assert!(page.is_err());
            let request = agent(12, &[4, 5]).sign(Request::new(message.clone()));
            let page = history.client.clone().list_conversation(request).await;
            let page = page.expect("it is shown").into_inner();
            let numbers = page.entries.iter().map(|entry| entry.message.as_ref());
            seqs.extend(numbers.map(|message| message.expect("it is set").ticket_seq));
            if page.next_page_token.is_empty() {
                break;
            }
            message.page_token = page.next_page_token;
        }
        assert_eq!(seqs, expected);
    }
}
