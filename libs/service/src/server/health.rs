//! Health on a port of its own, in plain text, for probes that have no certificate.

use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, Stream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use super::ServerError;
use super::incoming::{IncomingRules, incoming};
use super::places::WhenFull;
use crate::status;
use crate::tls::Tls;

/// Probes come from one machine, one at a time.
const MAX_CONNECTIONS: usize = 64;
const MAX_STREAMS: u32 = 16;
const MAX_HEADER_BYTES: u32 = 8 << 10;
/// The longest name of a service that is asked for, and some.
const MAX_MESSAGE_BYTES: usize = 1 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Then a connection is cut, even one that watches: none holds its place for ever.
const MAX_AGE: Duration = Duration::from_mins(5);
const MAX_AGE_GRACE: Duration = Duration::from_secs(1);

/// Whether the process serves at all, which depends on nothing else. Unlike the others it goes on to be so while the
/// process shuts down, or calls that still run would be cut by a restart.
const LIVE: &str = "live";
/// Whether the process takes calls: the health of the server as a whole.
const READY: &str = "ready";

/// Serves health, and nothing else, until it is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    reporter: HealthReporter,
) -> Result<(), ServerError> {
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let rules = IncomingRules {
        handshake_timeout: HANDSHAKE_TIMEOUT,
        max_handshakes: 1,
        max_connections: MAX_CONNECTIONS,
        when_full: WhenFull::Wait,
    };
    let probes = HealthServer::new(Probes(HealthService::from_health_reporter(reporter)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_connection_age(MAX_AGE)
        .max_connection_age_grace(MAX_AGE_GRACE)
        .add_service(probes)
        .serve_with_incoming(incoming(listener, Tls::off(), rules, &cut))
        .await
        .map_err(ServerError::Serve)
}

/// `live`, `ready` and the empty name.
struct Probes(HealthService);

type Watch = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

impl Probes {
    /// The same question of the server's own health; none if it is whether the process lives.
    fn asked(
        request: Request<HealthCheckRequest>,
    ) -> Result<Option<Request<HealthCheckRequest>>, Status> {
        match request.get_ref().service.as_str() {
            LIVE => Ok(None),
            READY | "" => Ok(Some(request.map(|_| HealthCheckRequest::default()))),
            name => Err(status::not_found("SERVICE_UNKNOWN", "service", &name)),
        }
    }
}

fn alive() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    }
}

#[tonic::async_trait]
impl Health for Probes {
    type WatchStream = Watch;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match Self::asked(request)? {
            Some(request) => self.0.check(request).await,
            None => Ok(Response::new(alive())),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let watch: Watch = match Self::asked(request)? {
            Some(request) => self.0.watch(request).await?.into_inner().boxed(),
            None => stream::once(async { Ok(alive()) })
                .chain(stream::pending())
                .boxed(),
        };
        Ok(Response::new(watch))
    }
}
