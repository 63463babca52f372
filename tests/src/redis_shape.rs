//! The Redis of timers: one server, a cluster, or a master with sentinels.

use std::time::Duration;

use plazo_local::{
    RedisCluster, RedisClusterOptions, RedisOptions, RedisSentinels, RedisSentinelsOptions,
    RedisServer,
};

const MASTERS: usize = 3;
const SENTINELS: usize = 3;
/// Sentinels promote no replica that seems dead, or whose link has been down for ten times this: a busy machine is neither.
const DOWN_AFTER: Duration = Duration::from_secs(2);
const START_BOUND: Duration = Duration::from_mins(2);

/// What Redis is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedisShape {
    /// One server.
    #[default]
    One,
    /// A cluster of three masters without replicas.
    Cluster,
    /// A master, a replica, and three sentinels. Each timer knows one sentinel: the first timer the first, and so on.
    Sentinels,
}

/// The servers.
#[derive(Debug)]
pub(crate) enum Redis {
    One(Box<RedisServer>),
    Cluster(RedisCluster),
    Sentinels(RedisSentinels),
}

impl Redis {
    /// Starts the servers. `has_port` is for one that must be reached through TCP, too.
    pub(crate) async fn start(shape: RedisShape, append_only: bool, has_port: bool) -> Self {
        let mut node = RedisOptions::temporary().append_only(append_only);
        node.start_timeout = START_BOUND;
        match shape {
            RedisShape::One => {
                let server = RedisServer::start(node.tcp(has_port)).await;
                Self::One(Box::new(server.expect("Redis starts")))
            }
            RedisShape::Cluster => {
                let options = RedisClusterOptions::temporary(MASTERS).node(node);
                let cluster = RedisCluster::start(options).await;
                Self::Cluster(cluster.expect("the cluster starts"))
            }
            RedisShape::Sentinels => {
                let mut options = RedisSentinelsOptions::temporary(SENTINELS).node(node);
                options.down_after = DOWN_AFTER;
                let sentinels = RedisSentinels::start(options).await;
                Self::Sentinels(sentinels.expect("the sentinels start"))
            }
        }
    }

    /// The URL for a timer.
    pub(crate) fn url(&self, replica: usize) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
            Self::Sentinels(sentinels) => sentinels.url_through(replica % SENTINELS),
        }
    }
}
