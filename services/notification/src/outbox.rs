//! Rows that are handed to ticketing until it has answered for them.

use std::sync::Arc;
use std::time::Duration;

use plazo_service::status;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::backoff::Backoff;
use crate::config::OutboxConfig;

/// What hands rows over, a batch at a time.
pub(crate) trait Outbox {
    /// What waits, for the log.
    const WHAT: &'static str;

    /// Hands over at most `limit` of the rows; how many they were.
    fn send_batch(&self, limit: u32) -> impl Future<Output = Result<usize, OutboxError>> + Send;
}

/// Why a batch is still unanswered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    #[error("database")]
    Database(#[from] sqlx::Error),
    #[error("ticketing refused the batch")]
    Refused(#[source] Box<Status>),
    #[error("ticketing could not be told")]
    Call(#[source] Box<Status>),
    #[error("ticketing answered for {answers} of {rows}")]
    AnswerCount { answers: usize, rows: usize },
}

impl From<Status> for OutboxError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::InvalidArgument => Self::Refused(Box::new(status)),
            _ => Self::Call(Box::new(status)),
        }
    }
}

/// As many answers as there are rows, or an error.
pub(crate) fn all_answered<A>(answers: Vec<A>, rows: usize) -> Result<Vec<A>, OutboxError> {
    if answers.len() == rows {
        Ok(answers)
    } else {
        Err(OutboxError::AnswerCount {
            answers: answers.len(),
            rows,
        })
    }
}

/// Hands rows over until shutdown; looks again when it is woken, and now and then.
pub(crate) async fn run<O: Outbox>(
    outbox: &O,
    config: &OutboxConfig,
    waker: &Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::new(config.first_backoff_ms, config.max_backoff_ms);
    let mut limit = config.batch;
    loop {
        let sent = tokio::select! {
            () = shutdown.cancelled() => return,
            sent = outbox.send_batch(limit) => sent,
        };
        let wait = match sent {
            Ok(0) => {
                backoff.reset();
                limit = config.batch;
                None
            }
            Ok(_) => {
                backoff.reset();
                continue;
            }
            // One row that is refused must not keep the others back: halve until it is alone.
            Err(OutboxError::Refused(_)) if limit > 1 => {
                limit /= 2;
                continue;
            }
            Err(error) => {
                tracing::warn!(error = status::chain(&error), "{} wait", O::WHAT);
                Some(backoff.next())
            }
        };
        // A failed call waits, whoever wakes: the next one would fail as well.
        let woken = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => waker.notified().await,
            }
        };
        let poll = tokio::time::sleep(Duration::from_millis(config.poll_ms));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = woken => {}
            () = poll, if wait.is_none() => {}
        }
    }
}
