//! Redis servers that belong together.

use plazo_local::{
    RedisCluster, RedisClusterOptions, RedisSentinels, RedisSentinelsOptions, RedisServer,
};

use crate::{GONE_BOUND, is_alive, redis_command, wait_for};

#[tokio::test]
async fn a_cluster_serves_all_slots_and_moves_one() {
    let cluster = RedisCluster::start(RedisClusterOptions::temporary(3))
        .await
        .expect("it starts");
    // The slot of "foo", as Redis Cluster has fixed it: in the last third.
    let slot = 12_182;
    assert_eq!(cluster.node_of_slot(slot).await.expect("it is served"), 2);
    let [first, _, last] = cluster.nodes() else {
        panic!("there are three");
    };
    let set = redis_command(&last.socket_path(), "SET foo here").await;
    assert_eq!(set.expect("answers"), "+OK");
    cluster.move_slot(slot, 0).await.expect("it moves");
    assert_eq!(cluster.node_of_slot(slot).await.expect("it is served"), 0);
    let moved = redis_command(&first.socket_path(), "GET foo").await;
    assert_eq!(moved.expect("answers"), "here");

    let ports: Vec<_> = cluster
        .nodes()
        .iter()
        .filter_map(RedisServer::tcp_port)
        .collect();
    assert_eq!(
        cluster.url(),
        format!(
            "redis+cluster://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}",
            ports[0], ports[1], ports[2]
        )
    );
    let pids: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| node.pid().expect("it runs"))
        .collect();
    drop(cluster);
    for pid in pids {
        wait_for("a node to end", GONE_BOUND, || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn sentinels_promote_the_replica() {
    let redis = RedisSentinels::start(RedisSentinelsOptions::temporary(1))
        .await
        .expect("they start");
    assert_eq!(redis.master().await.expect("it is known"), 0);
    redis.fail_over().await.expect("it is promoted");
    assert_eq!(redis.master().await.expect("it is known"), 1);
}
