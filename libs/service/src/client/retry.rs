//! Sending a call again while its service is away.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tonic::Status;

use super::is_unavailable;
use crate::config::ClientConfig;
use crate::deadline::Deadline;
use crate::status::retry_after_of;
use crate::supervisor::jittered;

/// A failed call takes as much from the budget as ten good ones bring.
const COST_OF_FAILURE: u32 = 10;

/// Keeps retries from doubling the load of a service that is down: good calls fill it, failed ones take
/// from it, and below the half there are no retries. One for each service that is called, shared by all
/// its callers.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: AtomicU32,
    capacity: u32,
}

impl RetryBudget {
    /// A full budget that bears half of `failures` failures at a time before retries stop.
    pub fn new(failures: u32) -> Self {
        let capacity = failures.saturating_mul(COST_OF_FAILURE);
        Self {
            tokens: AtomicU32::new(capacity),
            capacity,
        }
    }

    fn deposit(&self) {
        self.change(|tokens| tokens.saturating_add(1).min(self.capacity));
    }

    /// Pays for a failure; whether it may be retried.
    fn withdraw(&self) -> bool {
        self.change(|tokens| tokens.saturating_sub(COST_OF_FAILURE)) > self.capacity / 2
    }

    fn change(&self, new_value: impl Fn(u32) -> u32) -> u32 {
        let change = |tokens| Some(new_value(tokens));
        let before = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        new_value(before.unwrap_or_else(|unchanged| unchanged))
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(200)
    }
}

/// How calls to one service are sent again.
#[derive(Debug)]
pub struct Retry {
    max_attempts: u32,
    first_backoff: Duration,
    max_backoff: Duration,
    budget: RetryBudget,
}

impl Retry {
    /// The retries of `config`, with a budget of their own.
    pub fn new(config: &ClientConfig) -> Self {
        Self {
            max_attempts: config.max_attempts,
            first_backoff: Duration::from_millis(config.first_backoff_ms),
            max_backoff: Duration::from_millis(config.max_backoff_ms),
            budget: RetryBudget::default(),
        }
    }

    /// Sends a call, and sends it again while the answer is UNAVAILABLE (or the connection broke under
    /// it): with waits that double, with jitter, at least as long as the server asks, until the attempts,
    /// the budget or the deadline are used up. `call` makes one attempt; give its request the same
    /// deadline ([`Deadline::request`]). Only for calls that may be sent twice, as all of ours may:
    /// mutations carry a request id. Only one layer retries: a handler's own calls, not its callers.
    pub async fn unavailable<T, Fut>(
        &self,
        deadline: Deadline,
        mut call: impl FnMut() -> Fut,
    ) -> Result<T, Status>
    where
        Fut: Future<Output = Result<T, Status>>,
    {
        let mut backoff = self.first_backoff;
        let mut attempt = 1;
        loop {
            let status = match deadline.bound(call()).await {
                Err(status) if is_unavailable(&status) => status,
                outcome => {
                    self.budget.deposit();
                    return outcome;
                }
            };
            let is_affordable = self.budget.withdraw();
            let wait = jittered(backoff).max(retry_after_of(&status).unwrap_or_default());
            let is_in_time = deadline
                .remaining()
                .is_none_or(|remaining| wait < remaining);
            if attempt >= self.max_attempts || !is_affordable || !is_in_time {
                return Err(status);
            }
            tracing::debug!(attempt, wait = ?wait, "a call is sent again");
            tokio::time::sleep(wait).await;
            backoff = (backoff * 2).min(self.max_backoff);
            attempt += 1;
        }
    }
}
