//! Knowing the addresses, and keeping a connection to each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand::seq::SliceRandom as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::Resolve;
use super::connections::{Connection, Connections};
use crate::client::dial::{Dial, DialError};
use crate::config::ClientConfig;
use crate::status::chain;
use crate::supervisor::jittered;

/// Connections of one client to one service. Of more addresses, this many are picked at random.
const MAX_ADDRESSES: usize = 128;
const LOOK_UP_BOUND: Duration = Duration::from_secs(5);
/// Failures ask for a look-up; they don't get more than this.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(250);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A look-up that failed is made again so soon, then twice as late with each that fails: calls may have to wait for it.
const FIRST_LOOK_UP_BACKOFF: Duration = Duration::from_millis(50);
const MAX_LOOK_UP_BACKOFF: Duration = Duration::from_secs(1);
/// A connection that broke sooner, and has answered nothing, has failed: a server that refuses our certificate says so only
/// then.
const WELL_AFTER: Duration = Duration::from_secs(1);

/// What calls are sent through, and what must be polled for that.
type Connected = (
    SendRequest<Body>,
    BoxFuture<'static, Result<(), hyper::Error>>,
);

/// What holds for the connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepRules {
    connect_timeout: Duration,
    resolve_interval: Duration,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
}

impl KeepRules {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            resolve_interval: Duration::from_millis(config.resolve_interval_ms),
            keepalive_interval: Duration::from_millis(config.keepalive_interval_ms),
            keepalive_timeout: Duration::from_millis(config.keepalive_timeout_ms),
        }
    }
}

/// Looks up the addresses and keeps connections to them.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) connections: Arc<Connections>,
    pub(super) dial: Dial,
    pub(super) resolve: Resolve,
    pub(super) rules: KeepRules,
    /// For logs.
    pub(super) name: String,
}

impl Keeper {
    /// Never ends.
    pub(super) async fn run(self) {
        let failed = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        // Each with what ends its connection.
        let mut kept: HashMap<SocketAddr, CancellationToken> = HashMap::new();
        let mut backoff = FIRST_LOOK_UP_BACKOFF;
        loop {
            // Those that have gone, and whose last calls have ended.
            while tasks.try_join_next().is_some() {}
            let mut wait = jittered(self.rules.resolve_interval);
            match self.look_up().await {
                Ok(found) => {
                    backoff = FIRST_LOOK_UP_BACKOFF;
                    let wanted = choose(found, &kept);
                    kept.retain(|address, gone| {
                        let stays = wanted.contains(address);
                        if !stays {
                            gone.cancel();
                        }
                        stays
                    });
                    for address in wanted {
                        kept.entry(address).or_insert_with(|| {
                            let gone = CancellationToken::new();
                            tasks.spawn(self.clone().keep(
                                address,
                                gone.clone(),
                                Arc::clone(&failed),
                            ));
                            gone
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(service = self.name, %error, "no addresses; those that are known stay in use");
                    wait = wait.min(jittered(backoff));
                    backoff = (backoff * 2).min(MAX_LOOK_UP_BACKOFF);
                }
            }
            let begun = Instant::now();
            if timeout(wait, failed.notified()).await.is_ok() {
                sleep(LOOK_UP_PAUSE.saturating_sub(begun.elapsed())).await;
            }
        }
    }

    async fn look_up(&self) -> std::io::Result<Vec<SocketAddr>> {
        let found = timeout(LOOK_UP_BOUND, (self.resolve)()).await??;
        if found.is_empty() {
            return Err(std::io::Error::other("the name has no addresses"));
        }
        Ok(found)
    }

    /// Connects to an address, and again whenever the connection is lost, until the address has gone. Then no call begins
    /// on it, and those that it has go on to their ends.
    async fn keep(self, address: SocketAddr, gone: CancellationToken, failed: Arc<Notify>) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let connecting = timeout(self.rules.connect_timeout, self.connect(address));
            let Some(connected) = gone.run_until_cancelled(connecting).await else {
                return;
            };
            let begun = Instant::now();
            match connected.unwrap_or_else(|_| Err("it took too long".into())) {
                Ok((sender, mut driver)) => {
                    let connection = Arc::new(Connection::new(sender));
                    self.connections.add(Arc::clone(&connection));
                    let ended = gone.run_until_cancelled(&mut driver).await;
                    self.connections.remove(&connection);
                    let was_well = connection.has_answered() || begun.elapsed() >= WELL_AFTER;
                    drop(connection);
                    let Some(ended) = ended else {
                        let _ = driver.await;
                        return;
                    };
                    tracing::debug!(service = self.name, %address, error = ?ended.err(), "a connection has ended");
                    if was_well {
                        backoff = FIRST_BACKOFF;
                        continue;
                    }
                }
                Err(error) => {
                    tracing::debug!(service = self.name, %address, error = chain(&*error), "no connection");
                }
            }
            failed.notify_one();
            if gone
                .run_until_cancelled(sleep(jittered(backoff)))
                .await
                .is_none()
            {
                return;
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Boxed, as the compiler does not see through hyper's types that it is `Send`.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, Result<Connected, DialError>> {
        let (dial, rules) = (self.dial.clone(), self.rules);
        Box::pin(connect(dial, rules, address))
    }
}

async fn connect(
    dial: Dial,
    rules: KeepRules,
    address: SocketAddr,
) -> Result<Connected, DialError> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query("/")
        .build()?;
    let stream = dial.connect(uri).await?;
    let handshake = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(rules.keepalive_interval)
        .keep_alive_timeout(rules.keepalive_timeout)
        .keep_alive_while_idle(true)
        .handshake(stream);
    let (sender, driver) = handshake.await?;
    Ok((sender, Box::pin(driver)))
}

/// Of too many addresses, those that are in use already and some others.
fn choose(
    mut found: Vec<SocketAddr>,
    kept: &HashMap<SocketAddr, CancellationToken>,
) -> Vec<SocketAddr> {
    found.sort_unstable();
    found.dedup();
    if found.len() > MAX_ADDRESSES {
        found.shuffle(&mut rand::rng());
        found.sort_by_key(|address| !kept.contains_key(address));
        found.truncate(MAX_ADDRESSES);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_addresses_those_in_use_stay() {
        let all: Vec<SocketAddr> = (0..200)
            .map(|last| SocketAddr::from(([127, 0, 0, last], 5001)))
            .collect();
        let kept: HashMap<_, _> = all[150..]
            .iter()
            .map(|address| (*address, CancellationToken::new()))
            .collect();
        let twice = [all.clone(), all.clone()].concat();
        let chosen = choose(twice, &kept);
        assert_eq!(chosen.len(), MAX_ADDRESSES);
        assert!(kept.keys().all(|address| chosen.contains(address)));
        let few = choose(all[..3].to_vec(), &kept);
        assert_eq!(few, all[..3]);
    }
}
