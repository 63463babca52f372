//! Tells ticketing which erasures were carried out here, until it has answered.

use std::time::Duration;

use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::{ReportErasureRequest, ServiceErasure};
use plazo_service::status::chain;
use plazo_service::{ServiceChannel, TaskError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::metrics::RetentionMetrics;
use crate::model::to_proto;
use crate::store::{CarriedOut, RebuildStore};

/// The name of this service in reports.
const SERVICE: &str = "history";
/// How often reports are looked for, and tried again.
const PERIOD: Duration = Duration::from_secs(1);
/// Reports of one round.
const BATCH: i64 = 100;

/// Reports erasures.
pub(crate) struct ErasureReports {
    pub(crate) store: RebuildStore,
    pub(crate) ticketing: ErasureServiceClient<ServiceChannel>,
    pub(crate) metrics: RetentionMetrics,
}

impl ErasureReports {
    /// Runs until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            match stop.run_until_cancelled(self.round()).await {
                None => return Ok(()),
                Some(Err(error)) => {
                    tracing::warn!(error = chain(&error), "erasures could not be looked for");
                }
                Some(Ok(())) => {}
            }
            if stop.run_until_cancelled(sleep(PERIOD)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn round(&self) -> Result<(), sqlx::Error> {
        // Tables that are being built may be ahead of those that serve: what is erased there is not erased yet.
        if self.store.is_wanted().await? {
            return Ok(());
        }
        let due = self.store.unreported_erasures(BATCH).await?;
        let count = i64::try_from(due.len()).unwrap_or(i64::MAX);
        self.metrics.unreported_erasures.set(count);
        for erasure in due {
            let mut ticketing = self.ticketing.clone();
            match ticketing.report_erasure(report_of(&erasure)).await {
                Ok(_) => {
                    self.store.note_reported(&erasure).await?;
                    tracing::info!(
                        erasure_id = erasure.erasure_id,
                        rows = erasure.row_count,
                        "an erasure was reported"
                    );
                }
                Err(status) => {
                    tracing::warn!(
                        erasure_id = erasure.erasure_id,
                        reason = chain(&status),
                        "an erasure could not be reported; it is tried again"
                    );
                }
            }
        }
        Ok(())
    }
}

fn report_of(erasure: &CarriedOut) -> ReportErasureRequest {
    ReportErasureRequest {
        tenant_id: erasure.tenant_id,
        erasure_id: erasure.erasure_id,
        done: Some(ServiceErasure {
            service: SERVICE.to_owned(),
            erase_time: Some(to_proto(erasure.erased_at)),
            row_count: erasure.row_count,
        }),
    }
}
