//! What is armed comes due: never early, once, in its generation.

use plazo_proto::timer::v1::{EntryState, HandleOutcome};

use crate::bed::{Bed, arm, wait_for, wait_for_firings};
use crate::desk::now_ms;

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_come_due_once_and_never_early() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let now = now_ms();
    let mut arms = Vec::new();
    for n in 0..600_i64 {
        let ticket = (1 + n % 7, 1 + n);
        let due = now + 200 + n * 2;
        bed.desk.set(ticket, 3, &[due]);
        arms.push(arm(ticket, 3, Some(due), 0));
    }
    let counts = timer.arm_all(arms).await;
    assert_eq!((counts.added_count, counts.removed_count), (600, 0));

    wait_for_firings(&bed.desk, 600).await;
    bed.desk.assert_all_fired_once_and_not_early();
    // The handler is asked first, and notification then.
    wait_for("the messages", async || {
        bed.desk.state().messages.len() >= 600
    })
    .await;
    let state = bed.desk.state();
    assert_eq!(state.looks.len(), 600, "each entry is looked at once");
    let keys: std::collections::BTreeSet<_> = state.messages.iter().collect();
    assert_eq!(
        keys.len(),
        600,
        "each firing's message reaches notification"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_arms_the_next_instant() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.divided(&[], 1).await;
    let now = now_ms();
    for ticket in 1..=20 {
        let stages: Vec<_> = (1..=4)
            .map(|stage| now + 1_000 + stage * 150 + ticket)
            .collect();
        bed.desk.set((1, ticket), 1, &stages);
        // Armed too early, as after a lively conversation: looked at, and told the later instant.
        timer.arm((1, ticket), 1, now).await;
    }
    wait_for_firings(&bed.desk, 80).await;
    bed.desk.assert_all_fired_once_and_not_early();
    let early_looks = bed
        .desk
        .state()
        .looks
        .iter()
        .filter(|look| look.2 == HandleOutcome::NotDue)
        .count();
    assert!(
        early_looks >= 20,
        "each was looked at before its first stage"
    );

    wait_for("the last acks", async || {
        timer.entries((1, 1)).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_earlier_wakes_the_timer() {
    // A look would come after a second only.
    let mut bed = Bed::new().await.set("timer.look_interval_ms", &1_000);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let mut longest_ms = 0;
    for ticket in 1..=10 {
        let due = now_ms() + 30;
        bed.desk.set((1, ticket), 1, &[due]);
        timer.arm((1, ticket), 1, due).await;
        wait_for_firings(&bed.desk, usize::try_from(ticket).expect("it is small")).await;
        longest_ms = longest_ms.max(now_ms() - due);
    }
    // Without the call's waking it, some of ten would nearly surely wait for most of a second.
    assert!(longest_ms < 500, "{longest_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_and_doubled_messages_can_not_hurt_a_newer_generation() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    let ticket = (5, 42);
    let due = now_ms() + HOUR_MS;
    timer.arm(ticket, 7, due).await;
    let counts = timer.arm_all(vec![arm(ticket, 9, Some(due), 7)]).await;
    assert_eq!((counts.added_count, counts.removed_count), (1, 1));

    // "Remove (T,7)" and "remove (T,5) and (T,6)", late; the arm of generation 9 a second time.
    timer.arm_all(vec![arm(ticket, 8, None, 7)]).await;
    timer.arm_all(vec![arm(ticket, 7, None, 5)]).await;
    timer.arm_all(vec![arm(ticket, 9, Some(due), 7)]).await;
    let entries = timer.entries(ticket).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].ticket.expect("it is set").generation, 9);
    assert_eq!(entries[0].state(), EntryState::Waiting);

    // "Add (T,7)", late: a stray that is answered STALE once and is gone.
    bed.desk.set(ticket, 9, &[due]);
    timer.arm(ticket, 7, now_ms()).await;
    wait_for("the stray's look", async || {
        bed.desk.look_count(ticket) == 1
    })
    .await;
    assert_eq!(bed.desk.state().looks[0], (ticket, 7, HandleOutcome::Stale));
    wait_for("the stray's end", async || {
        timer.entries(ticket).await.len() == 1
    })
    .await;
    assert_eq!(
        timer.entries(ticket).await[0]
            .ticket
            .expect("it is set")
            .generation,
        9
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_ticket_is_looked_at_again_soon() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    let due = now_ms() + 50;
    bed.desk.set((1, 1), 1, &[due]);
    bed.desk.trouble(|trouble| {
        trouble.busy.insert((1, 1), 12);
    });
    timer.arm((1, 1), 1, due).await;
    wait_for_firings(&bed.desk, 1).await;
    bed.desk.assert_all_fired_once_and_not_early();
    // More often than failed attempts are allowed: being busy is no failure.
    assert_eq!(bed.desk.look_count((1, 1)), 13);
    assert!(timer.quarantined().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notification_down_keeps_nothing_from_firing() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    bed.desk
        .trouble(|trouble| trouble.is_notification_down = true);
    let due = now_ms() + 50;
    bed.desk.set((1, 1), 1, &[due, due + 200]);
    timer.arm((1, 1), 1, due).await;
    wait_for_firings(&bed.desk, 2).await;
    bed.desk.assert_all_fired_once_and_not_early();
    wait_for("the last ack", async || {
        timer.entries((1, 1)).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_the_work() {
    let mut bed = Bed::new().await.set("timer.batch_limit", &32);
    let mut one = bed.start().await;
    one.rebuilt().await;
    let two = bed.start().await;
    wait_for("both heartbeats", async || {
        one.stats().await.replica_ids.len() == 2
    })
    .await;
    let now = now_ms();
    let mut arms = Vec::new();
    for n in 0..1_000 {
        let due = now + 100 + n / 2;
        bed.desk.set((1 + n % 5, 1 + n), 1, &[due]);
        arms.push(arm((1 + n % 5, 1 + n), 1, Some(due), 0));
    }
    one.arm_all(arms).await;
    wait_for_firings(&bed.desk, 1_000).await;
    bed.desk.assert_all_fired_once_and_not_early();
    two.stop().await;
    wait_for("one to leave", async || {
        one.stats().await.replica_ids.len() == 1
    })
    .await;
}
