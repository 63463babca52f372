//! Two services with handlers of their own, each under its namespace in one Redis: neither sees what is the other's.

use plazo_proto::timer::v1::HandleOutcome;

use crate::bed::{Bed, wait_for, wait_for_firings};
use crate::desk::now_ms;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_worlds_apart() {
    const SAME: (i64, i64) = (1, 1);
    const ERRING: (i64, i64) = (2, 2);
    let mut desk = Bed::new().await;
    let mut orders = Bed::on(desk.redis_url.clone())
        .await
        .set("timer.shards", &6)
        .set("timer.lanes", &3);
    assert_ne!(desk.namespace, orders.namespace);
    let mut of_desk = desk.start().await;
    let mut of_orders = orders.start().await;
    of_desk.rebuilt().await;
    of_orders.rebuilt().await;
    // Neither counts the other's replica.
    assert_eq!(of_desk.stats().await.replica_ids.len(), 1);
    assert_eq!(of_orders.stats().await.shards.len(), 6);

    // The same ids mean different things to them.
    let due = now_ms() + 100;
    desk.desk.set(SAME, 1, &[due]);
    orders.desk.set(SAME, 7, &[due, due + 300]);
    of_desk.arm(SAME, 1, due).await;
    of_orders.arm(SAME, 7, due).await;
    for ticket in 10..200 {
        let (here, id) = (ticket % 2 == 0, (ticket % 7 + 1, ticket));
        let bed = if here { &desk } else { &orders };
        bed.desk.set(id, 1, &[due + ticket]);
        let timer = if here { &mut of_desk } else { &mut of_orders };
        timer.arm(id, 1, due + ticket).await;
    }
    // What fails in one is in quarantine there.
    orders.desk.trouble(|trouble| {
        trouble.erring.insert(ERRING);
    });
    of_orders.arm(ERRING, 1, due).await;

    wait_for_firings(&desk.desk, 96).await;
    wait_for_firings(&orders.desk, 97).await;
    wait_for("the quarantine", async || {
        of_orders.quarantined().await.len() == 1
    })
    .await;
    for bed in [&desk, &orders] {
        bed.desk.assert_all_fired_once_and_not_early();
        let stale = |look: &(_, _, HandleOutcome)| look.2 == HandleOutcome::Stale;
        assert!(!bed.desk.state().looks.iter().any(stale), "a stranger came");
    }
    assert!(of_desk.quarantined().await.is_empty());
    assert!(of_desk.entries(ERRING).await.is_empty());
}
