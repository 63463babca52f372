//! `plazo.ticketing.v1.SnapshotService`: what a consumer of the feed needs to begin anew.

use std::time::Duration;

use async_stream::try_stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use plazo_proto::ticketing::v1::snapshot_service_server::SnapshotService as Api;
use plazo_proto::ticketing::v1::{
    GetCalendarVersionRequest, GetCalendarVersionResponse, StreamSnapshotRequest,
    StreamSnapshotResponse,
};
use plazo_service::status;
use tonic::{Request, Response, Status};

use crate::changes::Changes;
use crate::config::SnapshotConfig;
use crate::error::Error;
use crate::feed;
use crate::snapshot::Snapshot;
use crate::snapshot::seats::Seats;
use crate::store::settings::calendars;
use crate::validate::Checks;

const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Snapshots, and the versions of calendars that events name.
#[derive(Debug, Clone)]
pub struct SnapshotService {
    changes: Changes,
    seats: Seats,
}

impl SnapshotService {
    /// Wiring.
    pub fn new(changes: Changes, config: &SnapshotConfig) -> Self {
        let limit = usize::try_from(config.max_streams).unwrap_or(usize::MAX);
        let max_idle = Duration::from_millis(config.max_idle_ms);
        Self {
            changes,
            seats: Seats::new(limit, max_idle),
        }
    }
}

#[tonic::async_trait]
impl Api for SnapshotService {
    type StreamSnapshotStream = BoxStream<'static, Result<StreamSnapshotResponse, Status>>;

    async fn stream_snapshot(
        &self,
        request: Request<StreamSnapshotRequest>,
    ) -> Result<Response<Self::StreamSnapshotStream>, Status> {
        let after_ticket_id = request.into_inner().after_ticket_id;
        let mut checks = Checks::new();
        checks.optional_id("after_ticket_id", after_ticket_id);
        checks.finish()?;
        let seat = self.seats.take().ok_or_else(|| {
            status::resource_exhausted(
                "TOO_MANY_SNAPSHOTS",
                "this replica sends as many snapshots as it may",
                RETRY_AFTER,
            )
        })?;
        let pool = self.changes.pool().clone();
        let feed = feed::identity(&pool).await?;
        let mut snapshot = Snapshot::begin(pool, after_ticket_id).await?;
        let stream = try_stream! {
            yield StreamSnapshotResponse {
                position: snapshot.moment().position.write(&feed),
                estimated_ticket_count: snapshot.estimated_ticket_count(),
                tickets: Vec::new(),
            };
            // Whoever takes nothing is not read for: this goes on when a part is taken.
            loop {
                if !seat.keep() {
                    Err(stopped())?;
                }
                let tickets = snapshot.next().await?;
                if tickets.is_empty() {
                    break;
                }
                yield StreamSnapshotResponse {
                    tickets,
                    ..StreamSnapshotResponse::default()
                };
            }
        };
        Ok(Response::new(stream.boxed()))
    }

    async fn get_calendar_version(
        &self,
        request: Request<GetCalendarVersionRequest>,
    ) -> Result<Response<GetCalendarVersionResponse>, Status> {
        let GetCalendarVersionRequest {
            tenant_id,
            calendar_version,
        } = request.into_inner();
        let mut checks = Checks::new();
        checks.id("tenant_id", tenant_id);
        checks.id("calendar_version", calendar_version);
        checks.finish()?;
        let mut connection = self.changes.connection(tenant_id).await?;
        let calendar = calendars::find_version(&mut connection, tenant_id, calendar_version)
            .await?
            .ok_or(Error::NotFound {
                kind: "calendar_version",
                id: calendar_version,
            })?;
        Ok(Response::new(GetCalendarVersionResponse {
            calendar: Some(calendar),
        }))
    }
}

fn stopped() -> Status {
    status::resource_exhausted(
        "SNAPSHOT_READER_STOPPED",
        "nothing was taken for so long that another snapshot has the place: go on with after_ticket_id",
        RETRY_AFTER,
    )
}
