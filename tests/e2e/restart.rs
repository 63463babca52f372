//! Data survive when everything is stopped.

use std::time::Duration;

use plazo_proto::ticketing::v1::Stage;
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::ledger::Ledger;
use plazo_tests::process::Service;
use plazo_tests::truth::Databases;

#[tokio::test(flavor = "multi_thread")]
async fn open_cycles_go_on_after_everything_was_stopped() {
    let mut cluster = Cluster::start(Durability::Full).await;
    let databases = Databases::open(&cluster).await;
    // The warning is far enough away to come after the restart on a slow machine.
    let stages = Stages {
        first_alert_s: 1,
        second_alert_s: 10,
        warning_and_close_s: Some((11, 13)),
    };
    let desk = Desk::set_up(&cluster, 7, stages).await;
    let mut tickets = Vec::new();
    for _ in 0..20 {
        let ticket_id = desk.open_ticket().await.ticket_id;
        desk.agent_writes(ticket_id, &format!("Hello, {ticket_id}"))
            .await;
        tickets.push(ticket_id);
    }
    plazo_tests::eventually("all show yellow", Duration::from_secs(10), async || {
        let ledger = Ledger::read(&databases.ticketing, desk.tenant_id).await;
        ledger.fired_count(Stage::FirstAlert) == tickets.len()
    })
    .await;

    for service in Service::ALL {
        cluster.terminate(service).await;
    }
    cluster.redis().restart().await.expect("Redis starts again");
    cluster
        .postgres()
        .restart()
        .await
        .expect("PostgreSQL starts again");
    cluster.start_services(&Service::ALL).await;

    let account = Ledger::settle_and_check(&databases, &[&desk], Duration::from_secs(20)).await;
    assert_eq!(account.count(Stage::FirstAlert), tickets.len());
    assert_eq!(account.count(Stage::Warning), tickets.len());
    assert_eq!(account.inactivity_closes, tickets.len());
    cluster.stop().await;
}
