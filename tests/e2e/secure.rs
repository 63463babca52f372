//! Four services that speak to each other over TLS alone.

use std::time::Duration;

use plazo_proto::ticketing::v1::Stage;
use plazo_tests::cluster::{Cluster, Durability, Setup};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::eventually;
use plazo_tests::ledger::Ledger;
use plazo_tests::process::Service;
use plazo_tests::truth::Databases;

const STAGES: Stages = Stages {
    first_alert_s: 1,
    second_alert_s: 2,
    warning_and_close_s: Some((3, 5)),
};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_goes_through_all_stages_over_tls_while_certificates_are_rotated() {
    let cluster = Cluster::start_with(Setup::new(Durability::Fast).secure()).await;
    let databases = Databases::open(&cluster).await;
    let desk = Desk::set_up(&cluster, 7, STAGES).await;

    let silent = desk.open_ticket().await.ticket_id;
    desk.agent_writes(silent, "Hello").await;
    cluster.rotate_certificates();
    for service in Service::ALL {
        let what = format!("{} uses its new certificate", service.name());
        eventually(&what, Duration::from_secs(10), async || {
            let metrics = cluster.metrics(service).await;
            metrics.sum("plazo_tls_reloads_total", "outcome=\"replaced\"") >= 1.0
        })
        .await;
    }
    let lively = desk.open_ticket().await.ticket_id;
    desk.agent_writes(lively, "Hello").await;
    desk.customer_writes(lively, "Hello to you").await;

    let account = Ledger::settle_and_check(&databases, &[&desk], Duration::from_secs(5)).await;
    let fired: Vec<_> = account
        .fired
        .iter()
        .map(|fired| (fired.ticket_id, fired.cycle, fired.stage))
        .collect();
    let expected = [
        Stage::FirstAlert,
        Stage::SecondAlert,
        Stage::Warning,
        Stage::Close,
    ];
    assert_eq!(fired, expected.map(|stage| (silent, 1, stage)));
    desk.show_history().await;
    for service in Service::ALL {
        let metrics = cluster.metrics(service).await;
        let handshakes = |outcome: &str| {
            metrics.sum(
                "plazo_tls_handshakes_total",
                &format!("outcome=\"{outcome}\""),
            )
        };
        assert!(handshakes("done") >= 1.0, "{}", service.name());
        assert!(handshakes("timed_out") < 1.0, "{}", service.name());
    }
    cluster.stop().await;
}
