//! Several private Redis servers that belong together: a cluster, or a master with replicas and sentinels.
//!
//! Each is a server of its own, which ends with its owner like any other.

use std::time::Duration;

use crate::error::{LocalError, Result};
use crate::redis::{RedisOptions, RedisServer, Role};

/// How long servers may take to find each other.
const JOIN_BOUND: Duration = Duration::from_secs(30);
const SLOT_COUNT: usize = 16_384;
/// The name under which sentinels know the master.
const MASTER_NAME: &str = "plazo";
/// How often it is checked whether all nodes know of a move.
const MOVE_CHECKS_MAX: usize = 200;
/// Keys that move at a time.
const MOVED_KEYS: usize = 100;

/// How to run a cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisClusterOptions {
    /// Masters, at least one. A cluster that shall survive the loss of one needs three.
    pub masters: usize,
    /// Replicas of each master.
    pub replicas: usize,
    /// After how long a silent node is taken for dead; default 1 s.
    pub node_timeout: Duration,
    /// How to run each node: folder and ports are chosen for it.
    pub node: RedisOptions,
}

impl RedisClusterOptions {
    /// A cluster of so many masters without replicas, in temporary folders, each with an append-only file.
    pub fn temporary(masters: usize) -> Self {
        Self {
            masters,
            replicas: 0,
            node_timeout: Duration::from_secs(1),
            node: RedisOptions::temporary(),
        }
    }

    /// The same, with another number of [`replicas`](Self::replicas).
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// The same, with other options for each [`node`](Self::node).
    #[must_use]
    pub fn node(mut self, node: RedisOptions) -> Self {
        self.node = node;
        self
    }
}

/// A Redis Cluster on free ports of 127.0.0.1. The masters share the slots evenly, in order. A slot without a master
/// doesn't keep the others from being served.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters, then the replicas: the one at `masters + n` follows the master `n % masters`.
    nodes: Vec<RedisServer>,
    masters: usize,
}

impl RedisCluster {
    /// Starts the nodes, joins them, and waits until they agree.
    pub async fn start(options: RedisClusterOptions) -> Result<Self> {
        let masters = options.masters.max(1);
        let mut node = options.node.clone();
        node.role = Role::ClusterNode;
        node.settings.splice(
            0..0,
            [
                format!("cluster-node-timeout {}", options.node_timeout.as_millis()),
                "cluster-require-full-coverage no".to_owned(),
                "repl-diskless-sync-delay 0".to_owned(),
            ],
        );
        let mut nodes = Vec::new();
        for _ in 0..masters * (1 + options.replicas) {
            nodes.push(RedisServer::start(node.clone()).await?);
        }
        let cluster = Self { nodes, masters };
        cluster.join().await?;
        Ok(cluster)
    }

    /// The URL of the cluster, in the form that the timer takes.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", addresses(&self.nodes))
    }

    /// All nodes: the masters of the start, then the replicas. The replica at `masters + n` follows the master
    /// `n % masters`.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The same, for whoever wants nothing but the servers.
    pub fn into_nodes(self) -> Vec<RedisServer> {
        self.nodes
    }

    /// The same, to kill or restart one.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// The place of the node that serves a slot now, as the first node that answers knows it.
    pub async fn node_of_slot(&self, slot: u16) -> Result<usize> {
        for node in &self.nodes {
            if let Some(place) = self.view_of(node, slot).await {
                return Ok(place);
            }
        }
        Err(LocalError::NotRunning {
            server: "the Redis node of a slot",
        })
    }

    /// The place of the node that serves a slot, as this node knows it. None when it doesn't answer, or knows none.
    async fn view_of(&self, node: &RedisServer, slot: u16) -> Option<usize> {
        let known = node.call(&["CLUSTER", "NODES"]).await.ok()?;
        known.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let serves = fields.clone().skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
                bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
            });
            let is_down = fields
                .clone()
                .nth(2)
                .is_some_and(|flags| flags.contains("fail"));
            let port = fields.nth(1).and_then(port_of);
            let place = self.nodes.iter().position(|node| node.tcp_port() == port)?;
            (serves && !is_down).then_some(place)
        })
    }

    /// Moves a slot with its keys to another master, as resharding does, while it is in use.
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<()> {
        let from = self.node_of_slot(slot).await?;
        if from == to {
            return Ok(());
        }
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, target_id) = (id_of(source).await?, id_of(target).await?);
        let slot_number = slot;
        let slot = slot.to_string();
        let set = ["CLUSTER", "SETSLOT", &slot];
        target
            .call(&[&set[..], &["IMPORTING", &source_id]].concat())
            .await?;
        source
            .call(&[&set[..], &["MIGRATING", &target_id]].concat())
            .await?;
        let port = target.tcp_port().unwrap_or_default().to_string();
        let count = MOVED_KEYS.to_string();
        loop {
            let keys = source
                .call(&["CLUSTER", "GETKEYSINSLOT", &slot, &count])
                .await?;
            let keys: Vec<&str> = keys.lines().collect();
            if keys.is_empty() {
                break;
            }
            let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            source.call(&[&head[..], &keys].concat()).await?;
        }
        // The target first: then there is always one that serves the slot.
        for node in [target, source] {
            node.call(&[&set[..], &["NODE", &target_id]].concat())
                .await?;
        }
        // A message that was on its way may still name the old master, and be believed: so they are told until they
        // agree for a while.
        let mut agreed = 0;
        for _ in 0..MOVE_CHECKS_MAX {
            let mut is_agreed = true;
            for node in &self.nodes[..self.masters] {
                // Those that are down learn it when they are back.
                let view = self.view_of(node, slot_number).await;
                if view.is_some_and(|view| view != to) {
                    is_agreed = false;
                    let _ = node.call(&[&set[..], &["NODE", &target_id]].concat()).await;
                }
            }
            agreed = if is_agreed { agreed + 1 } else { 0 };
            if agreed == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn join(&self) -> Result<()> {
        let (first, others) = self.nodes.split_at(1);
        for (number, node) in self.nodes.iter().enumerate() {
            let epoch = (number + 1).to_string();
            node.call(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        for node in others {
            let port = first[0].tcp_port().unwrap_or_default().to_string();
            let bus = first[0].bus_port().unwrap_or_default().to_string();
            node.call(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
                .await?;
        }
        for (number, node) in self.nodes[..self.masters].iter().enumerate() {
            let from = (number * SLOT_COUNT / self.masters).to_string();
            let to = ((number + 1) * SLOT_COUNT / self.masters - 1).to_string();
            node.call(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await?;
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        self.until("all nodes know each other", async |node| {
            let info = node.call(&["CLUSTER", "INFO"]).await.unwrap_or_default();
            info.contains(&known)
        })
        .await?;
        for (number, node) in self.nodes[self.masters..].iter().enumerate() {
            let master_id = id_of(&self.nodes[number % self.masters]).await?;
            node.call(&["CLUSTER", "REPLICATE", &master_id]).await?;
        }
        self.until("all nodes agree", async |node| {
            let info = node.call(&["CLUSTER", "INFO"]).await.unwrap_or_default();
            let replication = node
                .call(&["INFO", "replication"])
                .await
                .unwrap_or_default();
            info.contains("cluster_state:ok")
                && info.contains("cluster_slots_assigned:16384")
                && (replication.contains("role:master")
                    || replication.contains("master_link_status:up"))
        })
        .await
    }

    async fn until(
        &self,
        what: &'static str,
        condition: impl AsyncFn(&RedisServer) -> bool,
    ) -> Result<()> {
        for node in &self.nodes {
            wait_until(what, node, async || condition(node).await).await?;
        }
        Ok(())
    }
}

/// How to run a master with replicas and sentinels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisSentinelsOptions {
    /// Replicas of the master, at least one.
    pub replicas: usize,
    /// Sentinels, at least one; more than half of them must agree that the master is down.
    pub sentinels: usize,
    /// After how long a silent master is taken for dead; default 500 ms.
    pub down_after: Duration,
    /// How to run master and replicas: folder and ports are chosen for each.
    pub node: RedisOptions,
}

impl RedisSentinelsOptions {
    /// One master, one replica and so many sentinels, in temporary folders, with append-only files.
    pub fn temporary(sentinels: usize) -> Self {
        Self {
            replicas: 1,
            sentinels,
            down_after: Duration::from_millis(500),
            node: RedisOptions::temporary(),
        }
    }

    /// The same, with other options for each [`node`](Self::node).
    #[must_use]
    pub fn node(mut self, node: RedisOptions) -> Self {
        self.node = node;
        self
    }
}

/// A master with replicas, and the sentinels that promote one of them when it is gone, on free ports of 127.0.0.1.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The master of the start, then the replicas.
    nodes: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl RedisSentinels {
    /// Starts the servers and waits until the sentinels know them all.
    pub async fn start(options: RedisSentinelsOptions) -> Result<Self> {
        let mut node = options.node.clone();
        node.tcp = true;
        node.settings
            .insert(0, "repl-diskless-sync-delay 0".to_owned());
        let master = RedisServer::start(node.clone()).await?;
        let port = master.tcp_port().unwrap_or_default();
        node.settings
            .insert(0, format!("replicaof 127.0.0.1 {port}"));
        let mut nodes = vec![master];
        for _ in 0..options.replicas.max(1) {
            let replica = RedisServer::start(node.clone()).await?;
            wait_until("a replica follows its master", &replica, async || {
                let info = replica.call(&["INFO", "replication"]).await;
                info.is_ok_and(|info| info.contains("master_link_status:up"))
            })
            .await?;
            nodes.push(replica);
        }

        let count = options.sentinels.max(1);
        let down_after = options.down_after.as_millis();
        let mut sentinel = RedisOptions::temporary();
        sentinel.role = Role::Sentinel;
        sentinel.settings = vec![
            format!(
                "sentinel monitor {MASTER_NAME} 127.0.0.1 {port} {}",
                count / 2 + 1
            ),
            format!("sentinel down-after-milliseconds {MASTER_NAME} {down_after}"),
            format!("sentinel failover-timeout {MASTER_NAME} {}", 6 * down_after),
        ];
        let mut sentinels = Vec::new();
        for _ in 0..count {
            sentinels.push(RedisServer::start(sentinel.clone()).await?);
        }
        for sentinel in &sentinels {
            wait_until("a sentinel knows the others", sentinel, async || {
                let known = sentinel.call(&["SENTINEL", "MASTER", MASTER_NAME]).await;
                known.is_ok_and(|known| {
                    let lines: Vec<&str> = known.lines().collect();
                    let field = |name: &str, value: usize| {
                        let value = value.to_string();
                        lines.windows(2).any(|pair| pair == [name, value.as_str()])
                    };
                    field("num-slaves", nodes.len() - 1) && field("num-other-sentinels", count - 1)
                })
            })
            .await?;
        }
        Ok(Self { nodes, sentinels })
    }

    /// The URL of the master, in the form that the timer takes.
    pub fn url(&self) -> String {
        format!(
            "redis+sentinel://{}/{MASTER_NAME}",
            addresses(&self.sentinels)
        )
    }

    /// The same for whoever reaches no more than one of the sentinels.
    pub fn url_through(&self, sentinel: usize) -> String {
        let address = addresses(std::slice::from_ref(&self.sentinels[sentinel]));
        format!("redis+sentinel://{address}/{MASTER_NAME}")
    }

    /// The sentinels, to freeze one.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The master of the start, then the replicas.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The same, to kill or restart one.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// The place of the master, as the first sentinel knows it.
    pub async fn master(&self) -> Result<usize> {
        let call = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
        let address = self.sentinels[0].call(&call).await?;
        let port = address.lines().nth(1).and_then(|port| port.parse().ok());
        let place = self.nodes.iter().position(|node| node.tcp_port() == port);
        place.ok_or(LocalError::NotRunning {
            server: "the master that the sentinels name",
        })
    }

    /// Has the sentinels promote a replica now, whether or not the master is well. Returns once they name the new one.
    pub async fn fail_over(&self) -> Result<()> {
        let before = self.master().await?;
        let sentinel = &self.sentinels[0];
        // Not before the sentinel has lately heard that the replica is well.
        wait_until("a replica can be promoted", sentinel, async || {
            let asked = sentinel.call(&["SENTINEL", "FAILOVER", MASTER_NAME]).await;
            asked.is_ok()
        })
        .await?;
        wait_until("the sentinels name another master", sentinel, async || {
            self.master().await.is_ok_and(|master| master != before)
        })
        .await
    }
}

async fn id_of(node: &RedisServer) -> Result<String> {
    node.call(&["CLUSTER", "MYID"]).await
}

/// The port in `host:port@bus`.
fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.split_once('@')?.0.rsplit_once(':')?;
    port.parse().ok()
}

fn addresses(servers: &[RedisServer]) -> String {
    let ports = servers.iter().filter_map(RedisServer::tcp_port);
    let addresses: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.join(",")
}

async fn wait_until(
    what: &'static str,
    server: &RedisServer,
    condition: impl AsyncFn() -> bool,
) -> Result<()> {
    let started = std::time::Instant::now();
    while !condition().await {
        if started.elapsed() >= JOIN_BOUND {
            return Err(LocalError::Start {
                server: "Redis",
                reason: format!("it took more than {} s until {what}", JOIN_BOUND.as_secs()),
                log: server.log_path(),
                tail: String::new(),
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
