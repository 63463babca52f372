//! The HTTP listener for callbacks: connections are limited in number and time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Taking;
use super::routes::{self, Routes};
use crate::config::CallbacksConfig;
use crate::credentials::Credentials;

/// After a failed accept, for instance for want of file descriptors, nothing is accepted for so long.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The listener, bound.
#[derive(Debug, Clone)]
pub(crate) struct CallbackServer {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

impl CallbackServer {
    /// Takes the address of the configuration; none when there is none.
    pub(crate) async fn bind(config: &CallbacksConfig) -> io::Result<Option<Self>> {
        let Some(address) = config.listen else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Some(Self {
            listener: Arc::new(listener),
            address,
        }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown; then requests that are being answered end within their time.
    pub(crate) async fn run(
        self,
        config: CallbacksConfig,
        credentials: Credentials,
        taking: Taking,
        shutdown: CancellationToken,
    ) {
        let router = routes::router(Routes::new(&config, credentials, taking));
        let timeout = Duration::from_millis(config.request_timeout_ms);
        let places = Arc::new(Semaphore::new(
            config.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let mut connections = JoinSet::new();
        tracing::info!(address = %self.address, "serving callbacks");
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.accept(&places) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, place)) => {
                    let serving = serve(stream, router.clone(), timeout, shutdown.clone());
                    connections.spawn(async move {
                        let _place = place;
                        serving.await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a callback's connection could not be accepted");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, place))
    }
}

/// Serves one connection. Its headers and its silences are limited by `timeout`, and so is each request by the router.
async fn serve(
    stream: TcpStream,
    router: axum::Router,
    timeout: Duration,
    shutdown: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        // Whoever is at the other end broke off, was too slow, or doesn't speak HTTP.
        tracing::debug!(%error, "a callback's connection ended");
    }
}
