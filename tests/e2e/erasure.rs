//! A customer's personal data are erased through gRPC, and the proof says where.

use std::time::Duration;

use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::{EraseContactRequest, Erasure, GetErasureRequest};
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Desk, Stages, sign};
use plazo_tests::process::Service;
use plazo_tests::truth::Databases;
use sqlx::PgPool;
use tokio::time::Instant;

/// The customer's name, in the text of the warning, and what is said to him.
const SECRETS: [&str; 3] = ["Rui, we close", "Zuleika", "customer-of-"];
const BOUND: Duration = Duration::from_secs(30);

/// Whether a text stands in any row of a database.
async fn has(pool: &PgPool, text: &str) -> bool {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
    )
    .fetch_all(pool)
    .await
    .expect("the tables are listed");
    for table in tables {
        // Bytes are written as hexadecimal digits.
        let query = format!(
            "SELECT EXISTS (SELECT FROM {table} AS it WHERE it::text LIKE '%' || $1 || '%'
                 OR it::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%')"
        );
        let is_there: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(text)
            .fetch_one(pool)
            .await
            .expect("the table is searched");
        if is_there {
            return true;
        }
    }
    false
}

/// Waits until an erasure is as wanted.
async fn until(
    client: &mut ErasureServiceClient<plazo_tests::desk::SignedChannel>,
    erasure_id: i64,
    is_wanted: impl Fn(&Erasure) -> bool,
) -> Erasure {
    let deadline = Instant::now() + BOUND;
    loop {
        let answer = client.get_erasure(GetErasureRequest { erasure_id }).await;
        let erasure = answer.expect("it is there").into_inner().erasure;
        let erasure = erasure.expect("the erasure comes back");
        if is_wanted(&erasure) {
            return erasure;
        }
        assert!(Instant::now() < deadline, "in vain: {erasure:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ticketing_and_notification_keep_of_a_customer_is_erased_and_proved() {
    let cluster = Cluster::start(Durability::Fast).await;
    let databases = Databases::open(&cluster).await;
    let stages = Stages {
        first_alert_s: 1,
        second_alert_s: 2,
        warning_and_close_s: Some((3, 3_000)),
    };
    let desk = Desk::set_up(&cluster, 7, stages).await;
    let ticket = desk.open_ticket().await.ticket_id;
    desk.customer_writes(ticket, "I am Zuleika").await;
    desk.agent_writes(ticket, "Hello Zuleika").await;
    // The warning is on its way through all services.
    let deadline = Instant::now() + BOUND;
    while !has(&databases.notification, SECRETS[0]).await {
        assert!(Instant::now() < deadline, "nobody is warned");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(has(&databases.ticketing, SECRETS[1]).await);

    let mut erasures =
        ErasureServiceClient::new(sign(cluster.channel(Service::Ticketing), desk.tenant_id));
    let request = EraseContactRequest {
        contact_id: desk.contact.contact_id,
        ..EraseContactRequest::default()
    };
    let answer = erasures.erase_contact(request).await;
    let erasure = answer.expect("it begins").into_inner().erasure;
    let erasure_id = erasure.expect("the erasure comes back").erasure_id;
    let proof = until(&mut erasures, erasure_id, |erasure| {
        let mut services = erasure.services.iter();
        services.all(|it| it.service == "history" || it.erase_time.is_some())
    })
    .await;
    assert_eq!(proof.ticket_count, 1);
    for service in &proof.services[..2] {
        assert!(service.row_count > 0, "{service:?}");
    }
    for secret in SECRETS {
        assert!(!has(&databases.ticketing, secret).await, "{secret}");
        assert!(!has(&databases.notification, secret).await, "{secret}");
    }
    cluster.stop().await;
}
