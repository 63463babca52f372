//! Which node of a Redis Cluster serves which slot.
//!
//! Commands are routed here and not by the client library, so that each node gets one pipeline, each command its own
//! answer, and a node that is dead can't hold up what is meant for the others.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::join_all;
use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult, Value,
};

use super::no_answer;
use super::node::{Node, NodeTimeouts};

const SLOT_COUNT: u16 = 16_384;

/// The cluster as it was last seen.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Asked when no node that is known answers.
    seeds: Vec<Node>,
    settings: RedisConnectionInfo,
    timeouts: NodeTimeouts,
    map: RwLock<Map>,
}

#[derive(Debug, Clone, Default)]
struct Map {
    /// The masters, by `host:port`.
    nodes: HashMap<String, Arc<Node>>,
    /// For each slot its master; empty before the first answer.
    slots: Vec<Option<Arc<Node>>>,
}

/// What one node says.
struct View {
    is_ok: bool,
    /// Raised with each fail-over: a node that was cut off stays behind.
    current_epoch: u64,
    /// First and last slot of each range, and the address of its master.
    ranges: Vec<(u16, u16, String, u16)>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, timeouts: NodeTimeouts) -> RedisResult<Self> {
        let settings = seeds
            .first()
            .map(|seed| seed.redis_settings().clone())
            .unwrap_or_default();
        let seeds = seeds
            .into_iter()
            .map(|info| Node::new(info, timeouts))
            .collect::<RedisResult<_>>()?;
        Ok(Self {
            seeds,
            settings,
            timeouts,
            map: RwLock::default(),
        })
    }

    /// The master of a slot, as far as is known.
    pub(super) fn node_of(&self, slot: u16) -> Option<Arc<Node>> {
        self.read(|map| map.slots.get(usize::from(slot)).cloned().flatten())
    }

    /// All masters that are known.
    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        self.read(|map| map.nodes.values().cloned().collect())
    }

    /// The node at an address that `from` has named, as in `host:port`. An empty host means that of `from`.
    pub(super) fn node_at(&self, address: &str, from: &Node) -> RedisResult<Arc<Node>> {
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .ok_or_else(|| no_answer("a redirection without an address"))?;
        let addr = address_of(host, port, from);
        if let Some(node) = self.read(|map| map.nodes.get(&addr.to_string()).cloned()) {
            return Ok(node);
        }
        let node = Arc::new(self.connectable(addr)?);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(map.nodes.entry(node.address()).or_insert(node)))
    }

    /// The slot is served by this node now.
    pub(super) fn moved(&self, slot: u16, node: &Arc<Node>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = map.slots.get_mut(usize::from(slot)) {
            *place = Some(Arc::clone(node));
        }
    }

    /// Asks the nodes who serves what.
    ///
    /// All are asked, because one that was cut off, or frozen, goes on taking itself for a master: the view with the
    /// latest epoch counts.
    pub(super) async fn refresh(&self) -> RedisResult<()> {
        let masters = self.masters();
        let mut views = join_all(masters.iter().map(|node| view_of(node))).await;
        if !views.iter().any(Result::is_ok) {
            views.extend(join_all(self.seeds.iter().map(view_of)).await);
        }
        let mut latest: Option<View> = None;
        let mut failure = no_answer("no node of the cluster answers");
        for view in views {
            match view {
                Ok(view) => {
                    let rank = |view: &View| (view.is_ok, view.current_epoch);
                    if latest.as_ref().is_none_or(|best| rank(best) < rank(&view)) {
                        latest = Some(view);
                    }
                }
                Err(error) => failure = error,
            }
        }
        let view = latest.ok_or(failure)?;
        let old = self.read(Map::clone);
        let new = self.map_of(&view, &old)?;
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn map_of(&self, view: &View, old: &Map) -> RedisResult<Map> {
        let mut map = Map {
            nodes: HashMap::new(),
            slots: vec![None; usize::from(SLOT_COUNT)],
        };
        for (first, last, host, port) in &view.ranges {
            let addr = ConnectionAddr::Tcp(host.clone(), *port);
            let key = addr.to_string();
            let known = map.nodes.get(&key).or_else(|| old.nodes.get(&key)).cloned();
            let node = match known {
                Some(node) => node,
                None => Arc::new(self.connectable(addr)?),
            };
            map.nodes.insert(key, Arc::clone(&node));
            let range = usize::from(*first)..=usize::from(*last);
            if let Some(slots) = map.slots.get_mut(range) {
                slots.fill(Some(node));
            }
        }
        Ok(map)
    }

    fn connectable(&self, addr: ConnectionAddr) -> RedisResult<Node> {
        let info = addr
            .into_connection_info()?
            .set_redis_settings(self.settings.clone());
        Node::new(info, self.timeouts)
    }

    fn read<T>(&self, read: impl FnOnce(&Map) -> T) -> T {
        read(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A node that doesn't know its own address leaves the host out: it is the one that was asked.
fn address_of(host: &str, port: u16, from: &Node) -> ConnectionAddr {
    if !host.is_empty() && host != "?" {
        return ConnectionAddr::Tcp(host.to_owned(), port);
    }
    let own = from.address();
    let host = own.rsplit_once(':').map_or(own.as_str(), |(host, _)| host);
    ConnectionAddr::Tcp(host.to_owned(), port)
}

async fn view_of(node: &Node) -> RedisResult<View> {
    let mut info = redis::cmd("CLUSTER");
    info.arg("INFO");
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let mut answers = node.send([info, slots].into_iter()).await?.into_iter();
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    let info: String = redis::from_redis_value(next()?)?;
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let Value::Array(ranges) = next()? else {
        return Err(no_answer("CLUSTER SLOTS without a list"));
    };
    let view = View {
        is_ok: field("cluster_state") == Some("ok"),
        current_epoch: field("cluster_current_epoch")
            .and_then(|epoch| epoch.parse().ok())
            .unwrap_or(0),
        ranges: ranges
            .iter()
            .filter_map(|range| range_of(range, node))
            .collect(),
    };
    if view.ranges.is_empty() {
        return Err(no_answer("the cluster serves no slot yet"));
    }
    Ok(view)
}

fn range_of(range: &Value, from: &Node) -> Option<(u16, u16, String, u16)> {
    let Value::Array(parts) = range else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = parts.as_slice()
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let ConnectionAddr::Tcp(host, port) = address_of(&host, u16::try_from(*port).ok()?, from)
    else {
        return None;
    };
    Some((
        u16::try_from(*first).ok()?,
        u16::try_from(*last).ok()?,
        host,
        port,
    ))
}

/// The slot of a key: CRC16 (XMODEM) of its hash tag, as Redis Cluster has fixed it.
pub(crate) fn slot_of(key: &str) -> u16 {
    let bytes = key.as_bytes();
    let tag = bytes
        .iter()
        .position(|byte| *byte == b'{')
        .and_then(|open| {
            let rest = &bytes[open + 1..];
            let length = rest.iter().position(|byte| *byte == b'}')?;
            (length > 0).then(|| &rest[..length])
        });
    let crc = tag.unwrap_or(bytes).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    crc % SLOT_COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT answers.
        for (key, slot) in [
            ("foo", 12_182),
            ("123456789", 0x31c3),
            ("{user1000}.following", 3_443),
            ("{user1000}.followers", 3_443),
            ("foo{}{bar}", 8_363),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }
}
