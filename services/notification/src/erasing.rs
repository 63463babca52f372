//! Erases the personal data of customers when ticketing tells of it, and reports it until ticketing answers.
//!
//! The feed notes the erased tickets. What is stored of them from then on has no personal data in it; what other
//! transactions were storing at that moment is waited for, and then all that there is of the tickets is erased, page by
//! page: after a crash the next page is the one that was not committed.

use std::time::Duration;

use plazo_proto::notification::v1::{AcceptedMessage, ResendActiveMessageResponse};
use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::{ReportErasureRequest, ServiceErasure};
use plazo_service::{Deadline, ServiceChannel, status};
use prost::Message as _;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::accepting::Wakers;
use crate::backoff::Backoff;
use crate::config::OutboxConfig;
use crate::metrics::NotificationMetrics;
use crate::store::erasing::{self as store, Erasure};

/// Tickets a transaction.
const TICKETS_A_PAGE: i64 = 100;
/// First answers that are read at once.
const ANSWERS_A_PAGE: i64 = 1_000;
/// What an erasure waits for are other transactions, which are short.
const FENCE_POLL: Duration = Duration::from_millis(50);
/// The methods whose answers have a message in them, and nothing else.
const METHODS_WITH_MESSAGES: [&str; 3] = [
    "ResendActiveMessage",
    "ResolveActiveMessage",
    "CancelActiveMessage",
];

/// Erases, and reports it.
#[derive(Debug, Clone)]
pub(crate) struct Eraser {
    pub(crate) pool: PgPool,
    pub(crate) client: ErasureServiceClient<ServiceChannel>,
    pub(crate) request_timeout: Duration,
    pub(crate) config: OutboxConfig,
    pub(crate) wakers: Wakers,
    pub(crate) metrics: NotificationMetrics,
}

/// Why an erasure has not gone on.
#[derive(Debug, thiserror::Error)]
enum EraseError {
    #[error("database")]
    Database(#[from] sqlx::Error),
    #[error("a stored answer can't be read")]
    Answer(#[from] prost::DecodeError),
    #[error("ticketing could not be told")]
    Call(#[source] Box<Status>),
}

/// What a step has done.
#[derive(Debug)]
enum Step {
    /// A page, or a report.
    Done,
    /// Nothing: there is nothing, or it has to wait for other transactions.
    Idle {
        /// The latter.
        is_waiting: bool,
    },
}

impl Eraser {
    /// Erases until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(self.config.first_backoff_ms, self.config.max_backoff_ms);
        let mut last_id = 0;
        loop {
            let step = tokio::select! {
                () = shutdown.cancelled() => return,
                step = self.step(&mut last_id) => step,
            };
            let wait = match step {
                Ok(Step::Done) => {
                    backoff.reset();
                    continue;
                }
                Ok(Step::Idle { is_waiting: true }) => FENCE_POLL,
                Ok(Step::Idle { is_waiting: false }) => {
                    let poll = tokio::time::sleep(Duration::from_millis(self.config.poll_ms));
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.wakers.eraser.notified() => {}
                        () = poll => {}
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(
                        erasure_id = last_id,
                        error = status::chain(&error),
                        "an erasure of personal data waits"
                    );
                    backoff.next()
                }
            };
            let waited = shutdown.run_until_cancelled(tokio::time::sleep(wait));
            if waited.await.is_none() {
                return;
            }
        }
    }

    /// Does a page of the next erasure after this one, or reports it when nothing is left to erase. Its row stays locked
    /// meanwhile; nobody else wants it but other replicas, and those pass it over.
    async fn step(&self, last_id: &mut i64) -> Result<Step, EraseError> {
        store::fence(&self.pool).await?;
        let mut transaction = self.pool.begin().await?;
        let Some(mut erasure) = store::take(&mut transaction, *last_id).await? else {
            transaction.rollback().await?;
            let is_waiting = store::is_waiting(&self.pool).await?;
            return Ok(Step::Idle { is_waiting });
        };
        // Also when it fails: the others get their turn.
        *last_id = erasure.erasure_id;
        let is_erased = match self.erase(&mut transaction, &mut erasure).await {
            Ok(is_erased) => is_erased,
            Err(error) => {
                transaction.rollback().await?;
                return Err(error);
            }
        };
        if is_erased {
            if let Err(error) = self.report(&erasure).await {
                transaction.rollback().await?;
                return Err(error);
            }
            store::remove(&mut transaction, &erasure).await?;
        } else {
            store::save(&mut transaction, &erasure).await?;
        }
        transaction.commit().await?;
        // Messages that were cancelled are reported too.
        self.wakers.wake();
        Ok(Step::Done)
    }

    /// Erases a page of tickets. True when there was none left.
    async fn erase(
        &self,
        transaction: &mut PgConnection,
        erasure: &mut Erasure,
    ) -> Result<bool, EraseError> {
        let tenant_id = erasure.tenant_id;
        let ticket_ids = store::tickets(transaction, erasure, TICKETS_A_PAGE).await?;
        let Some(last) = ticket_ids.last() else {
            return Ok(true);
        };
        let told_at = erasure.told_at;
        let mut rows = store::messages(transaction, tenant_id, &ticket_ids, told_at).await?;
        rows += store::deliveries(transaction, tenant_id, &ticket_ids).await?;
        rows += erase_answers(transaction, tenant_id, &ticket_ids).await?;
        self.metrics.erased_rows.inc_by(rows);
        erasure.row_count += i64::try_from(rows).unwrap_or(i64::MAX);
        erasure.after_ticket_id = *last;
        Ok(false)
    }

    async fn report(&self, erasure: &Erasure) -> Result<(), EraseError> {
        let request = ReportErasureRequest {
            tenant_id: erasure.tenant_id,
            erasure_id: erasure.erasure_id,
            done: Some(ServiceErasure {
                service: "notification".to_owned(),
                erase_time: None,
                row_count: erasure.row_count,
            }),
        };
        let deadline = Deadline::after(self.request_timeout);
        let answer = deadline
            .bound(
                self.client
                    .clone()
                    .report_erasure(deadline.request(request)),
            )
            .await;
        match answer {
            Ok(_) => Ok(()),
            // Repeating it would change nothing, and what was to be erased is.
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::NotFound) => {
                tracing::error!(
                    erasure_id = erasure.erasure_id,
                    error = %status.message(),
                    "ticketing refuses the report of an erasure; it is dropped"
                );
                Ok(())
            }
            Err(status) => Err(EraseError::Call(Box::new(status))),
        }
    }
}

/// Erases the messages of tickets in the first answers of changes. Returns how many answers that were.
async fn erase_answers(
    transaction: &mut PgConnection,
    tenant_id: i64,
    ticket_ids: &[i64],
) -> Result<u64, EraseError> {
    let methods = METHODS_WITH_MESSAGES.map(str::to_owned);
    let mut after = Uuid::nil();
    let mut changed = 0;
    loop {
        let page = store::answers(transaction, tenant_id, &methods, after, ANSWERS_A_PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(changed);
        };
        after = last.request_id;
        for stored in page {
            // The answers of these methods are alike.
            let mut answer = ResendActiveMessageResponse::decode(stored.answer.as_slice())?;
            let accepted = answer.message.as_mut();
            if accepted.is_some_and(|accepted| erase_message(accepted, ticket_ids)) {
                let encoded = answer.encode_to_vec();
                store::set_answer(transaction, tenant_id, stored.request_id, &encoded).await?;
                changed += 1;
            }
        }
    }
}

/// Empties a message if it is of one of the tickets. Whether it was.
fn erase_message(accepted: &mut AcceptedMessage, ticket_ids: &[i64]) -> bool {
    let Some(message) = &mut accepted.message else {
        return false;
    };
    if !ticket_ids.contains(&message.ticket_id) {
        return false;
    }
    message.text.clear();
    message.image_url.clear();
    if let Some(recipient) = &mut message.recipient {
        recipient.address.clear();
    }
    accepted.provider_message_id.clear();
    true
}
