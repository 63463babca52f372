//! Claims whose answers were lost. What they took is given back as soon as Redis answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::Core;
use crate::store::Claim;

const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);
/// So much later they are looked for once more: a claim may have been on its way still.
const ONCE_MORE_AFTER: Duration = Duration::from_secs(1);

/// Gives back what the claims took, if they took anything. From this instant on their leases have ended by themselves.
pub(super) async fn give_back(core: Arc<Core>, claims: Vec<Claim>, until: Instant) {
    for pause in [FIRST_BACKOFF, ONCE_MORE_AFTER] {
        let mut left: Vec<_> = claims.iter().collect();
        let mut backoff = pause;
        while !left.is_empty() {
            if Instant::now() + backoff >= until {
                return;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF.max(pause));
            let answers = core.store.give_back(&left).await;
            let mut failed = Vec::new();
            for (claim, answer) in left.into_iter().zip(answers) {
                match answer {
                    Ok(given_back) => {
                        core.metrics
                            .given_back
                            .inc_by(given_back.count.unsigned_abs());
                        if let Some(due_ms) = given_back.next_due_ms {
                            core.hint(claim.shard, due_ms);
                        }
                    }
                    Err(_) => failed.push(claim),
                }
            }
            left = failed;
        }
    }
}
