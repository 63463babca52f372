//! Which master of a Redis Cluster keeps what.

use plazo_local::RedisCluster;
use plazo_tests::resp::RedisConnection;
use plazo_tests::shards::{SHARDS, tag_of};

/// The slot of a key.
pub(super) async fn slot_of(cluster: &RedisCluster, key: &str) -> u16 {
    let node = cluster.nodes().iter().find(|node| node.pid().is_ok());
    let node = node.expect("a node runs");
    let mut redis = RedisConnection::open(&node.socket_path());
    let slot = redis.run(&["CLUSTER", "KEYSLOT", key]).await;
    let slot = slot.expect("a node tells the slot of a key");
    slot.parse().expect("it is a number")
}

/// The place of the master of a key.
pub(super) async fn master_of(cluster: &RedisCluster, key: &str) -> usize {
    let slot = slot_of(cluster, key).await;
    cluster.node_of_slot(slot).await.expect("it is served")
}

/// For each shard the place of its master.
pub(super) async fn masters(cluster: &RedisCluster) -> Vec<usize> {
    let mut masters = Vec::new();
    for shard in 0..SHARDS {
        masters.push(master_of(cluster, &format!("{}:due", tag_of(shard))).await);
    }
    masters
}
