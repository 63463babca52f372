//! `plazo verify history` finds what is wrong in history, and nothing where nothing is.

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::process::Service;
use plazo_tests::traffic::{self, Done};
use plazo_tests::truth::Databases;
use plazo_tests::verify::verify_history;

const TENANT: i64 = 7;
const BOUND: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_differs_is_found() {
    let cluster = Cluster::start(Durability::Fast).await;
    let stages = Stages {
        first_alert_s: 1,
        second_alert_s: 2,
        warning_and_close_s: Some((3, 4)),
    };
    let desk = Desk::set_up(&cluster, TENANT, stages).await;
    let databases = Databases::open(&cluster).await;
    let mut done = Done::default();
    let ticket_id = traffic::open(&desk, &mut done).await;
    for (number, author) in [
        AuthorKind::Customer,
        AuthorKind::Agent,
        AuthorKind::Customer,
        AuthorKind::Agent,
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("{ticket_id}/{number}");
        traffic::record(&desk, ticket_id, author, &text, &mut done).await;
    }
    traffic::close(&desk, ticket_id, &mut done).await;
    traffic::record(&desk, ticket_id, AuthorKind::Agent, "one more", &mut done).await;
    // Alerts, the warning and the close by inactivity follow by themselves.
    databases.settle(BOUND).await;

    let verified = verify_history(&cluster, BOUND).await;
    assert!(verified.is_equal, "{}", verified.told);
    for table in [
        "tickets",
        "conversation_entries",
        "stage_firings",
        "dealings",
        "contacts",
    ] {
        assert!(verified.told.contains(table), "{}", verified.told);
    }
    let history = cluster.database(Service::History).await;
    for (spoil, told) in [
        (
            "UPDATE tickets SET handling_ms = handling_ms + 1",
            "tickets 1/0: handling_ms",
        ),
        (
            "UPDATE tickets SET first_closed_at = closed_at",
            "tickets 1/0: first_closed_at, handling_ms",
        ),
        (
            "DELETE FROM conversation_entries WHERE ticket_seq = (SELECT max(ticket_seq) FROM conversation_entries)",
            ": missing",
        ),
        (
            "UPDATE stage_firings SET late_ms = late_ms + 1000 WHERE stage = 4",
            ": late_ms",
        ),
        (
            "INSERT INTO dealings SELECT tenant_id, 999, contact_id, ticket_id, bot_id, last_dealt_at FROM dealings",
            "dealings 1/999: extra",
        ),
        (
            "UPDATE dealings SET contact_other_keys = ' x'",
            ": has_keys_of_contact",
        ),
        (
            "UPDATE contact_texts SET search_text = 'x'",
            ": search_text",
        ),
        ("UPDATE contacts SET name_key = 'x'", ": name_key"),
    ] {
        sqlx::query(spoil)
            .execute(&history)
            .await
            .expect("history can be spoilt");
        let verified = verify_history(&cluster, Duration::ZERO).await;
        assert!(!verified.is_equal, "{spoil}");
        assert!(verified.told.contains(told), "{spoil}\n{}", verified.told);
    }
    cluster.stop().await;
}
