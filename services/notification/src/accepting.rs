//! Taking messages in. Accepted means stored: whoever hears yes finds it in the database.

use std::sync::Arc;
use std::time::Duration;

use plazo_service::commit_in_background;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::config::Config;
use crate::error::Error;
use crate::fault::FaultPoint;
use crate::message::NewMessage;
use crate::metrics::{NotificationMetrics, Source};
use crate::store::messages::{self, Accepted, Incoming};

/// A deadlock or failed serialization is tried so often in all.
const MAX_ATTEMPTS: u32 = 4;

/// Wakes the tasks that look for new rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wakers {
    /// There may be messages to send.
    pub(crate) sender: Arc<Notify>,
    /// There may be reports to send.
    pub(crate) reporter: Arc<Notify>,
    /// There may be something to erase.
    pub(crate) eraser: Arc<Notify>,
}

impl Wakers {
    /// After a commit that may have made messages and reports.
    pub(crate) fn wake(&self) {
        self.sender.notify_one();
        self.reporter.notify_one();
    }
}

/// Stores messages that come by calls.
#[derive(Debug, Clone)]
pub(crate) struct Accepting {
    pool: PgPool,
    wakers: Wakers,
    metrics: NotificationMetrics,
    warning_hold: Duration,
    before_commit: Arc<FaultPoint>,
    after_commit: Arc<FaultPoint>,
}

impl Accepting {
    pub(crate) fn new(
        pool: PgPool,
        config: &Config,
        wakers: Wakers,
        metrics: NotificationMetrics,
    ) -> Self {
        let fault = &config.fault;
        Self {
            pool,
            wakers,
            metrics,
            warning_hold: Duration::from_millis(config.sender.warning_hold_ms),
            before_commit: Arc::new(FaultPoint::new("before_accept", fault.abort_before_accept)),
            after_commit: Arc::new(FaultPoint::new("after_accept", fault.abort_after_accept)),
        }
    }

    /// Stores messages, all or none, and answers in the same order. Goes on when the caller goes away.
    pub(crate) async fn accept(&self, new: Vec<NewMessage>) -> Result<Vec<Accepted>, Error> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let this = self.clone();
        commit_in_background(async move {
            let mut attempt = 1;
            loop {
                match this.attempt(&new).await {
                    Err(error) if error.is_transient() && attempt < MAX_ATTEMPTS => attempt += 1,
                    answer => return answer,
                }
            }
        })
        .await
    }

    async fn attempt(&self, new: &[NewMessage]) -> Result<Vec<Accepted>, Error> {
        let incoming: Vec<_> = new
            .iter()
            .map(|message| Incoming {
                message,
                requested_seq: None,
            })
            .collect();
        let mut transaction = self.pool.begin().await?;
        let accepted = messages::accept(&mut transaction, &incoming, self.warning_hold).await?;
        self.before_commit.pass();
        transaction.commit().await?;
        self.after_commit.pass();
        self.wakers.wake();
        count(&self.metrics, Source::Call, &accepted);
        Ok(accepted)
    }
}

/// Counts what came of a committed batch.
pub(crate) fn count(metrics: &NotificationMetrics, source: Source, accepted: &[Accepted]) {
    let new = accepted.iter().filter(|one| one.is_new).count();
    metrics.count_accepted(source, "accepted", new);
    metrics.count_accepted(source, "duplicate", accepted.len() - new);
}
