//! A ticket with thousands of messages.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{GetTranscriptRequest, RecordMessagesRequest};
use prost::Message as _;

use super::{brisk_desk, explained, number};
use crate::desk::Desk;

/// Records so many times 200 messages.
async fn record_many(desk: &Desk, ticket_id: i64, kind: AuthorKind, batches: usize) {
    let message = desk.message(ticket_id, kind);
    for _ in 0..batches {
        let request = RecordMessagesRequest {
            messages: vec![message.clone(); 200],
            request_id: String::new(),
        };
        let answer = desk.people.tickets.clone().record_messages(request).await;
        assert_eq!(answer.expect("recorded").into_inner().results.len(), 200);
    }
}

#[tokio::test]
async fn a_long_history_takes_one_page() {
    let desk = brisk_desk().await;
    let ticket_id = desk.open().await.ticket_id;
    record_many(&desk, ticket_id, AuthorKind::Agent, 30).await;
    let told = explained(&desk, ticket_id).await;
    assert!(told.truncated);
    assert_eq!(told.cycles.len(), 100);
    let last = told.cycles.last().and_then(|cycle| cycle.start);
    assert_eq!(last.expect("a start").cycle, 6_000);
    assert!(told.encoded_len() < 2 << 20, "{} bytes", told.encoded_len());

    let mut pages = 0;
    let mut page_token = String::new();
    let mut paragraphs = 0;
    loop {
        let request = GetTranscriptRequest {
            ticket_id,
            page_token,
            ..Default::default()
        };
        let answer = desk.people.tickets.clone().get_transcript(request).await;
        let page = answer.expect("a page").into_inner();
        paragraphs += page.text.split_terminator("\n\n").count();
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((pages, paragraphs), (12, 6_000));
}

#[tokio::test]
async fn a_cycle_that_began_before_the_page_is_told() {
    let desk = brisk_desk().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    record_many(&desk, ticket_id, AuthorKind::System, 26).await;
    let told = explained(&desk, ticket_id).await;
    assert!(told.truncated);
    let [cycle] = &told.cycles[..] else {
        panic!("{:?}", told.cycles)
    };
    assert!(number(cycle) == 1 && cycle.stages.len() == 4);
    assert_eq!(told.policies.len(), 1);
    assert!(!told.text.contains("cycle 1 began"));
    assert!(told.text.contains("now cycle 1 runs"));
}
