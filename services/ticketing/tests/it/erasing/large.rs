//! A contact with much to erase: page by page, over failures.

use std::collections::BTreeSet;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{RecordMessagesRequest, ReportErasureRequest, ServiceErasure};
use tonic::Code;

use super::filling::{create, message, open_for, person};
use super::{SECRET, erase, feed, get, tables_with, until_erased};
use crate::desk::{Desk, eventually};
use crate::support::{TENANT, refusal};
use crate::tickets::calls::Change;

/// Adds a ticket with this many messages of the name, by batches.
async fn long_ticket(desk: &Desk, contact_id: i64, messages: usize) -> i64 {
    let ticket_id = open_for(desk, contact_id).await.ticket_id;
    for _ in 0..messages / 200 {
        let mut one = message(desk, ticket_id, AuthorKind::Customer, SECRET);
        one.request_id.clear();
        let batch = RecordMessagesRequest {
            messages: vec![one; 200],
            request_id: String::new(),
        };
        let answer = desk.people.tickets.clone().record_messages(batch).await;
        answer.expect("recorded");
    }
    ticket_id
}

#[tokio::test]
async fn many_tickets_and_a_long_one_are_erased_and_told_once_each() {
    let desk = Desk::with_policy().await;
    let contact_id = create(&desk, person(SECRET, 1)).await.contact_id;
    let mut expected: Vec<i64> = Vec::new();
    for _ in 0..60 {
        let ticket_id = open_for(&desk, contact_id).await.ticket_id;
        Change::Close
            .make(&desk.people, ticket_id)
            .await
            .expect("closed");
        expected.push(ticket_id);
    }
    expected.push(long_ticket(&desk, contact_id, 2_400).await);
    expected.push(open_for(&desk, contact_id).await.ticket_id);

    // A failure in the middle: the pages before it stay, the others follow when it is over.
    let pool = &desk.fixture.pool;
    sqlx::raw_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as the test wants'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE ON messages FOR EACH ROW WHEN (NEW.ticket_seq = 2300) EXECUTE FUNCTION fail()",
    )
    .execute(pool)
    .await
    .expect("a trigger");
    let id = erase(&desk.people, contact_id)
        .await
        .expect("begun")
        .erasure_id;
    let half = "SELECT count(*) FROM erasures WHERE stage = 1 AND after_seq >= 1800 AND after_ticket_id > 0";
    eventually("the first pages are erased", async || {
        let count: i64 = sqlx::query_scalar(half)
            .fetch_one(pool)
            .await
            .expect("counted");
        (count == 1).then_some(())
    })
    .await;
    // Nobody may say that he is done before all was told.
    let early = ReportErasureRequest {
        tenant_id: TENANT,
        erasure_id: id,
        done: Some(ServiceErasure {
            service: "history".to_owned(),
            ..Default::default()
        }),
    };
    let early = desk.service.erasures.clone().report_erasure(early).await;
    assert_eq!(
        refusal(early),
        (Code::Unavailable, "ERASURE_RUNNING".to_owned())
    );
    assert!(!get(&desk.people, id).await.complete);
    sqlx::raw_sql("DROP TRIGGER fail ON messages")
        .execute(pool)
        .await
        .expect("dropped");

    until_erased(&desk, id).await;
    assert_eq!(tables_with(pool, SECRET).await, BTreeSet::new());
    let told: Vec<(i64, bool)> = feed(&desk)
        .await
        .events
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::PersonalDataErased(erased)) => Some((event.ticket_id, erased.last)),
            _ => None,
        })
        .collect();
    let tickets: Vec<i64> = told.iter().map(|(ticket_id, _)| *ticket_id).collect();
    assert_eq!(tickets, expected);
    let last: Vec<i64> = told
        .iter()
        .filter(|(_, last)| *last)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(last, expected[expected.len() - 1..]);
}
