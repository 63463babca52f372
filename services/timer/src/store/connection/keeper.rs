//! Keeps the picture of Redis right: who serves what, and which shards can be served again.

use std::time::Duration;

use plazo_service::status::chain;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Command, Connection, Topology};
use crate::shard::Shard;

/// However many failures ask for it, the servers are asked at most so often.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

impl Connection {
    /// Keeps asking who serves what, at each interval and when something points to a change; and probes the shards that
    /// are left alone. Nobody else waits for a server that may be dead.
    ///
    /// The interval matters even while all goes well: an old master that was cut off from the others goes on answering.
    pub(crate) async fn keep(&self, shutdown: &CancellationToken) {
        let mut refresh_at = Instant::now() + self.refresh_interval;
        let mut refreshed_at = Instant::now();
        loop {
            let probe_at = self.breakers.next_probe_at();
            let due_at = probe_at.map_or(refresh_at, |probe_at| probe_at.min(refresh_at));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.refresh_wanted.notified() => {
                    refresh_at = refresh_at.min(refreshed_at + REFRESH_PAUSE);
                }
                () = self.breakers.opened() => {}
                () = tokio::time::sleep_until(due_at) => {}
            }
            let work = async {
                if Instant::now() >= refresh_at {
                    self.refresh().await;
                    refreshed_at = Instant::now();
                    refresh_at = refreshed_at + self.refresh_interval;
                }
                self.probe().await;
            };
            if shutdown.run_until_cancelled(work).await.is_none() {
                return;
            }
        }
    }

    async fn refresh(&self) {
        if matches!(self.topology, Topology::Single(_)) {
            return;
        }
        let before = self.addresses();
        if let Err(error) = self.topology.refresh().await {
            tracing::warn!(error = chain(&error), "redis does not tell who serves what");
            return;
        }
        let after = self.addresses();
        let shards = (0_u16..).map(Shard::new).zip(before.iter().zip(&after));
        let mut moved = 0;
        for (shard, _) in shards.filter(|(_, (before, after))| before != after) {
            moved += 1;
            self.breakers.probe_now(shard);
        }
        if moved > 0 {
            tracing::info!(shards = moved, "shards are served by another redis");
        }
    }

    /// For each shard the address of its server.
    fn addresses(&self) -> Vec<Option<String>> {
        let address = |slot| Some(self.topology.node_of(slot)?.address());
        self.routes
            .iter()
            .map(|route| address(route.slot))
            .collect()
    }

    /// Probes the shards whose rest is over.
    async fn probe(&self) {
        let shards = self.breakers.due_probes();
        if shards.is_empty() {
            return;
        }
        let commands: Vec<_> = shards
            .iter()
            .map(|shard| {
                let mut cmd = redis::cmd("EXISTS");
                cmd.arg(&self.probe_keys[shard.index()]);
                Command::plain(self.routes[shard.index()], cmd)
            })
            .collect();
        let answers = self.run_passing(&commands, |_| true).await;
        let addresses = self.addresses();
        for (shard, answer) in shards.iter().zip(answers) {
            if answer.is_err() {
                self.breakers.probe_failed(*shard);
                continue;
            }
            // Its server answers: the other shards that it serves needn't wait for the end of their rests.
            let server = &addresses[shard.index()];
            for (other, _) in (0_u16..)
                .map(Shard::new)
                .zip(&addresses)
                .filter(|(_, address)| *address == server)
            {
                self.breakers.probe_now(other);
            }
        }
    }
}
