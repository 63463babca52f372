//! Spreading calls over all addresses of a service.
//!
//! A connection is kept to each address. A call goes to the one of two, picked at random, that has fewer calls under way;
//! one that could not be sent because its connection was just closed goes to another, unseen by the caller. What was sent
//! is never sent twice here: that is [`Retry`](super::Retry)'s to decide.

mod body;
mod connections;
mod keeper;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use http::uri::{Authority, Parts, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use tokio::time::timeout;
use tonic::body::Body;

use super::dial::{Dial, DialError, Target};
use crate::config::{ClientConfig, ConfigError};
use crate::supervisor::{Owned, spawn_owned};
use crate::tls::Tls;
use body::CountedBody;
use connections::{Connections, InFlight};
use keeper::{KeepRules, Keeper};

/// A call finds another connection so many times; that many can hardly close at the same moment.
const MAX_PICKS: u32 = 16;
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("plazo/", env!("CARGO_PKG_VERSION")));

/// Looks up the addresses of a service.
pub type Resolve =
    Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Clones share the connections, which end with the last of them and its calls.
#[derive(Debug, Clone)]
pub(super) struct Balancer(Arc<Shared>);

struct Shared {
    connections: Arc<Connections>,
    keeper: Keeper,
    /// Begins with the first call.
    keeping: OnceLock<Owned>,
    /// How long a call waits for a connection.
    wait: Duration,
    scheme: Scheme,
    authority: Authority,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancer")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// There is no connection to any address.
#[derive(Debug, thiserror::Error)]
#[error("no address of {0} can be reached")]
struct NoAddress(Authority);

impl Balancer {
    /// Without a resolver, the name service's.
    pub(super) fn new(
        config: &ClientConfig,
        tls: &Tls,
        resolve: Option<Resolve>,
    ) -> Result<Self, ConfigError> {
        let target = Target::of(config)?;
        let dial = Dial::new(config, &target, tls)?;
        let Ok(Parts {
            scheme: Some(scheme),
            authority: Some(authority),
            ..
        }) = config.endpoint.parse::<Uri>().map(Uri::into_parts)
        else {
            return Err(ConfigError::value("endpoint", "must have a host"));
        };
        let connections = Arc::new(Connections::new());
        let keeper = Keeper {
            connections: Arc::clone(&connections),
            dial,
            resolve: resolve.unwrap_or_else(|| name_service(target.host, target.port)),
            rules: KeepRules::new(config),
            name: authority.to_string(),
        };
        Ok(Self(Arc::new(Shared {
            connections,
            keeper,
            keeping: OnceLock::new(),
            wait: Duration::from_millis(config.connect_timeout_ms),
            scheme,
            authority,
        })))
    }

    /// Sends a call to one of the addresses.
    pub(super) async fn call(self, request: Request<Body>) -> Result<Response<Body>, DialError> {
        let shared = self.0;
        shared
            .keeping
            .get_or_init(|| spawn_owned(shared.keeper.clone().run()));
        let mut request = shared.addressed(request)?;
        for _ in 0..MAX_PICKS {
            let connection = timeout(shared.wait, shared.connections.pick())
                .await
                .map_err(|_| NoAddress(shared.authority.clone()))?;
            let in_flight = InFlight::new(connection);
            let mut error = match in_flight.sender().try_send_request(request).await {
                Ok(response) => {
                    in_flight.is_answered();
                    let owner = Arc::clone(&shared);
                    return Ok(
                        response.map(|body| Body::new(CountedBody::new(body, in_flight, owner)))
                    );
                }
                Err(error) => error,
            };
            let Some(unsent) = error.take_message() else {
                return Err(error.into_error().into());
            };
            shared.connections.remove(in_flight.connection());
            request = unsent;
        }
        Err(NoAddress(shared.authority.clone()).into())
    }
}

impl Shared {
    /// The request as one to the endpoint.
    fn addressed(&self, mut request: Request<Body>) -> Result<Request<Body>, http::Error> {
        let path = request.uri().path_and_query().cloned();
        let mut uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone());
        uri = match path {
            Some(path) => uri.path_and_query(path),
            None => uri.path_and_query("/"),
        };
        *request.uri_mut() = uri.build()?;
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(USER_AGENT);
        Ok(request)
    }
}

fn name_service(host: String, port: u16) -> Resolve {
    Arc::new(move || {
        let host = host.clone();
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host.as_str(), port)).await?;
            Ok(addresses.collect())
        })
    })
}
