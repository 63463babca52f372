//! The timer on a Redis Cluster of three masters: the same promises, and a dead master harms its own shards only.

use std::collections::BTreeSet;

use plazo_local::{RedisCluster, RedisClusterOptions, RedisOptions, RedisServer};
use plazo_proto::timer::v1::{ArmOutcome, ArmTicketsRequest, TicketArm};
use plazo_timer::{CheckError, TimerError};

use crate::bed::{Bed, RunningTimer, arm, wait_for, wait_for_firings};
use crate::desk::{TicketId, now_ms};

const SHARDS: u16 = 16;

async fn cluster_with(options: RedisClusterOptions) -> RedisCluster {
    RedisCluster::start(options)
        .await
        .expect("the cluster starts")
}

async fn cluster() -> RedisCluster {
    cluster_with(RedisClusterOptions::temporary(3)).await
}

async fn ask(server: &RedisServer, cmd: &redis::Cmd) -> redis::Value {
    let client = redis::Client::open(server.url()).expect("the URL is valid");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("it is there");
    cmd.query_async(&mut connection).await.expect("it answers")
}

/// The slots of all shards of the bed's namespace.
async fn slots(bed: &Bed, server: &RedisServer) -> Vec<u16> {
    let mut slots = Vec::new();
    for shard in 0..SHARDS {
        let mut cmd = redis::cmd("CLUSTER");
        cmd.arg("KEYSLOT")
            .arg(format!("plazo:{{{}:s{shard:03}}}:due", bed.namespace));
        let slot = ask(server, &cmd).await;
        slots.push(redis::from_redis_value(slot).expect("a slot"));
    }
    slots
}

/// Gives tickets their truth, and returns their arms. One falls due each two milliseconds from `first_ms` on.
fn tickets(bed: &Bed, ids: std::ops::Range<i64>, first_ms: i64) -> Vec<TicketArm> {
    let start = ids.start;
    ids.map(|id| {
        let ticket = (1 + id % 7, id);
        let due = first_ms + 2 * (id - start);
        bed.desk.set(ticket, 1, &[due]);
        arm(ticket, 1, Some(due), 0)
    })
    .collect()
}

/// Arms as the relay does: what could not be armed is offered again until it is.
async fn arm_at_last(timer: &mut RunningTimer, mut arms: Vec<TicketArm>) {
    wait_for("the arms", async || {
        arms = arm_once(timer, &arms).await;
        arms.is_empty()
    })
    .await;
}

/// Offers the arms once, and returns those that were not taken.
async fn arm_once(timer: &mut RunningTimer, arms: &[TicketArm]) -> Vec<TicketArm> {
    let request = ArmTicketsRequest {
        arms: arms.to_vec(),
    };
    let response = match timer.client.arm_tickets(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            return arms.to_vec();
        }
    };
    let outcomes = response.outcomes;
    assert_eq!(outcomes.len(), arms.len(), "each is answered by itself");
    let armed = i32::from(ArmOutcome::Armed);
    arms.iter()
        .zip(outcomes)
        .filter(|(_, outcome)| *outcome != armed)
        .map(|(arm, _)| *arm)
        .collect()
}

fn id_of(arm: &TicketArm) -> TicketId {
    let ticket = arm.ticket.expect("it is set");
    (ticket.tenant_id, ticket.ticket_id)
}

fn fired(bed: &Bed) -> BTreeSet<TicketId> {
    bed.desk.state().firings.iter().map(|f| f.ticket).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_promises() {
    let cluster = cluster().await;
    let mut bed = Bed::on(cluster.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let now = now_ms();
    let mut arms = Vec::new();
    for id in 1..=600 {
        let ticket = (1 + id % 7, id);
        let due = now + 200 + id;
        bed.desk.set(ticket, 1, &[due, due + 300]);
        arms.push(arm(ticket, 1, Some(due), 0));
    }
    let counts = timer.arm_all(arms).await;
    assert_eq!((counts.added_count, counts.removed_count), (600, 0));
    let nodes = slots(&bed, &cluster.nodes()[0]).await;
    let mut used = BTreeSet::new();
    for slot in nodes {
        used.insert(cluster.node_of_slot(slot).await.expect("it is served"));
    }
    assert_eq!(used.len(), 3, "all masters have shards");

    wait_for_firings(&bed.desk, 1_200).await;
    bed.desk.assert_all_fired_once_and_not_early();
    wait_for("the last acks", async || {
        let shards = timer.stats().await.shards;
        shards
            .iter()
            .all(|s| s.waiting_count == 0 && s.lease_count == 0)
    })
    .await;
    assert!(timer.quarantined().await.is_empty());

    // A ticket that always fails goes into quarantine, and comes back out of it.
    let broken = (3, 9_999);
    bed.desk.set(broken, 1, &[now_ms()]);
    bed.desk.trouble(|trouble| {
        trouble.erring.insert(broken);
    });
    timer.arm(broken, 1, now_ms()).await;
    wait_for("the quarantine", async || {
        timer.quarantined().await.len() == 1
    })
    .await;
    bed.desk.trouble(|trouble| trouble.erring.clear());
    let request = plazo_proto::timer::v1::ReleaseQuarantinedEntriesRequest {
        tickets: vec![crate::bed::member(broken, 1)],
    };
    let released = timer.client.release_quarantined_entries(request).await;
    assert_eq!(released.expect("it works").into_inner().released_count, 1);
    wait_for_firings(&bed.desk, 1_201).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_master_is_rebuilt_and_the_others_are_not() {
    let cluster = cluster().await;
    let mut bed = Bed::on(cluster.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let arms = tickets(&bed, 1..301, now_ms() + 2_000);
    timer.arm_all(arms).await;
    let waiting = async |timer: &mut RunningTimer| {
        let shards = timer.stats().await.shards;
        shards.iter().map(|shard| shard.waiting_count).sum::<i64>()
    };
    assert_eq!(waiting(&mut timer).await, 300);
    ask(&cluster.nodes()[1], &redis::cmd("FLUSHALL")).await;
    let left = waiting(&mut timer).await;
    assert!((1..300).contains(&left), "the fault took effect: {left}");
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_load() {
    let cluster = cluster().await;
    let mut bed = Bed::on(cluster.url()).await.with_short_leases();
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let arms = tickets(&bed, 1..901, now_ms() + 200);
    arm_at_last(&mut timer, arms).await;
    let slots = slots(&bed, &cluster.nodes()[0]).await;
    let mover = async {
        for slot in &slots {
            let from = cluster.node_of_slot(*slot).await.expect("it is served");
            cluster
                .move_slot(*slot, (from + 1) % 3)
                .await
                .expect("it moves");
        }
    };
    // New ones are armed all the while.
    let armer = async {
        for first in (2_001..2_501).step_by(50) {
            let arms = tickets(&bed, first..(first + 50), now_ms() + 50);
            arm_at_last(&mut timer, arms).await;
        }
    };
    tokio::join!(mover, armer);
    wait_for_firings(&bed.desk, 1_400).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert!(timer.quarantined().await.is_empty());
}

/// One of three masters is out of order by `harm`; what the others keep goes on, and what it keeps comes after `mend`.
async fn survive(
    cluster: &mut RedisCluster,
    harm: impl AsyncFnOnce(&mut RedisServer),
    mend: impl AsyncFnOnce(&mut RedisServer),
) {
    let mut bed = Bed::on(cluster.url()).await.with_short_leases();
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    // Some are armed before, and fall due all the while.
    let before = tickets(&bed, 1..501, now_ms() + 100);
    arm_at_last(&mut timer, before.clone()).await;
    harm(&mut cluster.nodes_mut()[1]).await;
    let during = tickets(&bed, 1_001..1_501, now_ms() + 1_000);
    let mut refused = Vec::new();
    wait_for("the others' arms", async || {
        refused = arm_once(&mut timer, &during).await;
        (1..500).contains(&refused.len())
    })
    .await;
    let stats = timer.stats().await;
    let away: BTreeSet<_> = stats
        .shards
        .iter()
        .filter(|shard| shard.unavailable)
        .map(|shard| shard.shard)
        .collect();
    assert!(
        !away.is_empty() && away.len() < usize::from(SHARDS),
        "{away:?}"
    );

    let refused_ids: BTreeSet<_> = refused.iter().map(id_of).collect();
    let live: BTreeSet<_> = during
        .iter()
        .map(id_of)
        .filter(|id| !refused_ids.contains(id))
        .collect();
    wait_for("the firings of the others", async || {
        live.is_subset(&fired(&bed))
    })
    .await;
    assert!(refused_ids.is_disjoint(&fired(&bed)), "it is still away");
    let lateness = bed
        .desk
        .state()
        .firings
        .iter()
        .filter(|firing| live.contains(&firing.ticket))
        .map(|firing| firing.fired_us / 1_000 - firing.due_ms)
        .max();
    println!(
        "the others' lateness: {lateness:?} ms, of {} tickets",
        live.len()
    );

    mend(&mut cluster.nodes_mut()[1]).await;
    arm_at_last(&mut timer, refused).await;
    wait_for_firings(&bed.desk, 1_000).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert!(timer.quarantined().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_of_three_harms_its_own_shards_only() {
    let mut cluster = cluster().await;
    survive(
        &mut cluster,
        async |master| master.kill().await.expect("it can be killed"),
        async |master| master.restart().await.expect("it starts again"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_master_of_three_harms_its_own_shards_only() {
    let mut cluster = cluster().await;
    survive(
        &mut cluster,
        async |master| master.pause().expect("it can be paused"),
        async |master| master.resume().expect("it goes on"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_is_rebuilt() {
    let mut cluster = cluster_with(RedisClusterOptions::temporary(3).replicas(1)).await;
    let mut bed = Bed::on(cluster.url()).await.with_short_leases();
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let arms = tickets(&bed, 1..1_001, now_ms() + 300);
    arm_at_last(&mut timer, arms).await;
    let slots = slots(&bed, &cluster.nodes()[0]).await;
    let mut lost = Vec::new();
    for slot in slots {
        if cluster.node_of_slot(slot).await.expect("it is served") == 2 {
            lost.push(slot);
        }
    }
    assert!(!lost.is_empty());
    cluster.nodes_mut()[2]
        .kill()
        .await
        .expect("it can be killed");
    wait_for("the fail-over", async || {
        cluster
            .node_of_slot(lost[0])
            .await
            .is_ok_and(|place| place == 5)
    })
    .await;
    let arms = tickets(&bed, 2_001..2_201, now_ms() + 50);
    arm_at_last(&mut timer, arms).await;
    wait_for_firings(&bed.desk, 1_200).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.rebuilt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_starts_while_a_master_is_down() {
    let mut cluster = cluster().await;
    let mut bed = Bed::on(cluster.url()).await;
    bed.start().await.stop().await;
    // Not the one that keeps the list of replicas.
    let mut cmd = redis::cmd("CLUSTER");
    cmd.arg("KEYSLOT")
        .arg(format!("plazo:{{{}}}:replicas", bed.namespace));
    let slot = ask(&cluster.nodes()[0], &cmd).await;
    let slot = redis::from_redis_value(slot).expect("a slot");
    let kept = cluster.node_of_slot(slot).await.expect("it is served");
    let dead = (kept + 1) % 3;
    cluster.nodes_mut()[dead].kill().await.expect("it dies");
    // Nobody has armed these.
    for id in 1..=300 {
        bed.desk.set((1 + id % 7, id), 1, &[now_ms()]);
    }
    let timer = bed.start().await;
    wait_for("some firings", async || bed.desk.firing_count() > 100).await;
    assert!(bed.desk.firing_count() < 300, "it is still away");
    cluster.nodes_mut()[dead]
        .restart()
        .await
        .expect("it starts again");
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_master_is_checked() {
    let cluster = cluster_with(
        RedisClusterOptions::temporary(3).node(RedisOptions::temporary().append_only(false)),
    )
    .await;
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg("volatile-ttl");
    ask(&cluster.nodes()[2], &set).await;
    let mut bed = Bed::on(cluster.url()).await;
    let Err(TimerError::Check(CheckError::Eviction { address, policy })) = bed.try_start().await
    else {
        panic!("it must be refused");
    };
    let port = cluster.nodes()[2].tcp_port().expect("it has one");
    assert_eq!(
        (address.as_str(), policy.as_str()),
        (format!("127.0.0.1:{port}").as_str(), "volatile-ttl")
    );
}
