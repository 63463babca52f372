//! A master that sentinels watch, and that changes when they promote a replica.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::join_all;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult};

use super::no_answer;
use super::node::{Node, NodeTimeouts};

/// The sentinels, and the master as they last named it.
#[derive(Debug)]
pub(super) struct Sentinel {
    sentinels: Vec<Node>,
    master_name: String,
    master_settings: RedisConnectionInfo,
    timeouts: NodeTimeouts,
    master: RwLock<Option<Arc<Node>>>,
}

/// What one sentinel says.
struct Told {
    /// Raised with each fail-over, by whoever makes it.
    config_epoch: u64,
    host: String,
    port: u16,
}

impl Sentinel {
    pub(super) fn new(
        sentinels: Vec<ConnectionInfo>,
        master_name: String,
        master_settings: RedisConnectionInfo,
        timeouts: NodeTimeouts,
    ) -> RedisResult<Self> {
        let sentinels = sentinels
            .into_iter()
            .map(|info| Node::new(info, timeouts))
            .collect::<RedisResult<_>>()?;
        Ok(Self {
            sentinels,
            master_name,
            master_settings,
            timeouts,
            master: RwLock::default(),
        })
    }

    /// The master; none before the first answer of a sentinel.
    pub(super) fn master(&self) -> Option<Arc<Node>> {
        self.master
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks the sentinels for the master.
    ///
    /// All are asked, because one that is cut off goes on naming an old master, and an old master may go on answering:
    /// the latest fail-over counts. The server itself must agree that it is a master.
    pub(super) async fn refresh(&self) -> RedisResult<()> {
        let told = join_all(self.sentinels.iter().map(|sentinel| self.ask(sentinel))).await;
        let mut latest: Option<Told> = None;
        let mut failure = no_answer("no sentinel knows the master");
        for told in told {
            match told {
                Ok(told) => {
                    if latest
                        .as_ref()
                        .is_none_or(|best| best.config_epoch < told.config_epoch)
                    {
                        latest = Some(told);
                    }
                }
                Err(error) => failure = error,
            }
        }
        let Some(told) = latest else {
            return Err(failure);
        };
        let addr = ConnectionAddr::Tcp(told.host, told.port);
        if self
            .master()
            .is_some_and(|master| master.address() == addr.to_string())
        {
            return Ok(());
        }
        let info = addr
            .into_connection_info()?
            .set_redis_settings(self.master_settings.clone());
        let node = Node::new(info, self.timeouts)?;
        let role = node.ask(redis::cmd("ROLE")).await?;
        let is_master = matches!(&role, redis::Value::Array(parts)
            if parts.first().is_some_and(|role| *role == redis::Value::BulkString(b"master".to_vec())));
        if !is_master {
            return Err(no_answer("the server that sentinels name is no master yet"));
        }
        tracing::info!(address = node.address(), "the sentinels name a master");
        *self.master.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(node));
        Ok(())
    }

    async fn ask(&self, sentinel: &Node) -> RedisResult<Told> {
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("MASTER").arg(&self.master_name);
        let fields: HashMap<String, String> = redis::from_redis_value(sentinel.ask(cmd).await?)?;
        let told = || {
            Some(Told {
                config_epoch: fields.get("config-epoch")?.parse().ok()?,
                host: fields.get("ip")?.clone(),
                port: fields.get("port")?.parse().ok()?,
            })
        };
        told().ok_or_else(|| no_answer("a sentinel's answer has no address"))
    }
}
