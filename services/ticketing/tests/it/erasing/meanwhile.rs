//! What others do at the same moment leaves nothing behind.

use std::collections::BTreeSet;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{Contact, OpenTicketRequest, UpdateContactRequest};

use super::filling::{create, message, open_for, person};
use super::{SECRET, erase, tables_with, until_erased};
use crate::desk::{Desk, eventually};
use crate::support::request_id;
use crate::tickets::calls::Change;

#[tokio::test]
async fn what_is_written_meanwhile_is_erased_or_refused() {
    let desk = Desk::with_policy().await;
    let contact = create(&desk, person(SECRET, 1)).await;
    let contact_id = contact.contact_id;
    let mut tickets = Vec::new();
    for _ in 0..8 {
        tickets.push(open_for(&desk, contact_id).await.ticket_id);
    }
    Change::Close
        .make(&desk.people, tickets[0])
        .await
        .expect("closed");

    let is_over = tokio_util::sync::CancellationToken::new();
    let writing = async {
        let mut refused = 0;
        // Until all are refused.
        while refused < tickets.len() {
            refused = 0;
            for &ticket_id in &tickets {
                for kind in [AuthorKind::Customer, AuthorKind::Agent] {
                    let answer = desk.record(message(&desk, ticket_id, kind, SECRET)).await;
                    if answer.is_err() && kind == AuthorKind::Agent {
                        refused += 1;
                    }
                }
            }
        }
        is_over.cancel();
    };
    let renaming = async {
        let mut number = 0;
        while !is_over.is_cancelled() {
            number += 1;
            let update = UpdateContactRequest {
                contact: Some(Contact {
                    name: format!("{SECRET} {number}"),
                    etag: String::new(),
                    ..contact.clone()
                }),
                request_id: request_id(),
                ..Default::default()
            };
            let _ = desk.people.contacts.clone().update_contact(update).await;
        }
    };
    let opening = async {
        while !is_over.is_cancelled() {
            let opening = OpenTicketRequest {
                contact_id,
                request_id: request_id(),
                ..desk.opening()
            };
            let _ = desk.people.tickets.clone().open_ticket(opening).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let reopening = async {
        while !is_over.is_cancelled() {
            let _ = Change::Close.make(&desk.people, tickets[1]).await;
            let _ = Change::Reopen.make(&desk.people, tickets[1]).await;
            let _ = Change::Reopen.make(&desk.people, tickets[0]).await;
        }
    };
    let erasing = async {
        eventually("there is something to erase", async || {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM messages")
                .fetch_one(&desk.fixture.pool)
                .await
                .expect("counted");
            (count > 50).then_some(())
        })
        .await;
        erase(&desk.people, contact_id)
            .await
            .expect("begun")
            .erasure_id
    };
    let ((), (), (), (), id) = tokio::join!(writing, renaming, opening, reopening, erasing);
    until_erased(&desk, id).await;
    assert_eq!(
        tables_with(&desk.fixture.pool, SECRET).await,
        BTreeSet::new()
    );
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM tickets WHERE is_open OR NOT is_erased")
            .fetch_one(&desk.fixture.pool)
            .await
            .expect("counted");
    assert_eq!(open, 0);
}
