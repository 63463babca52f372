//! Taking connections, and shaking hands with many clients at once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected as _;

use super::connection::{Connection, ConnectionInfo};
use super::places::{Place, Places, WhenFull};
use crate::peer::PeerIdentity;
use crate::tls::{ALPN, Tls, TlsMetrics, peer_of};

/// Out of file descriptors, mostly. The next attempt fails at once as well.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

/// What holds for the connections of one socket.
#[derive(Debug, Clone)]
pub(super) struct IncomingRules {
    /// A client has so long until HTTP/2 begins.
    pub(super) handshake_timeout: Duration,
    /// The oldest handshake gives way to one more.
    pub(super) max_handshakes: usize,
    /// Connections at a time, those that shake hands among them.
    pub(super) max_connections: usize,
    /// What becomes of further ones.
    pub(super) when_full: WhenFull,
}

/// The connections of a socket, over TLS if it is on.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Tls,
    rules: IncomingRules,
    cut: &CancellationToken,
) -> impl Stream<Item = Result<Connection, Infallible>> + use<> {
    let incoming = Incoming {
        listener,
        tls,
        places: Places::new(rules.max_connections, rules.when_full.clone()),
        rules,
        cut: cut.clone(),
        handshakes: JoinSet::new(),
        under_way: BTreeMap::new(),
        next_number: 0,
    };
    stream::unfold(incoming, |mut incoming| async {
        let connection = incoming.next().await;
        Some((Ok(connection), incoming))
    })
}

struct Incoming {
    listener: TcpListener,
    tls: Tls,
    rules: IncomingRules,
    places: Places,
    cut: CancellationToken,
    /// In tasks, so that they have all cores; they end with this.
    handshakes: JoinSet<(u64, Option<Connection>)>,
    /// The handshakes that were not given up, in the order in which they began.
    under_way: BTreeMap<u64, AbortHandle>,
    next_number: u64,
}

impl Incoming {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                (stream, place) = accept(&self.listener, &self.places) => {
                    if let Some(connection) = self.begin(stream, place) {
                        return connection;
                    }
                }
                Some(ended) = self.handshakes.join_next() => {
                    // Those that fail here were given up.
                    let Ok((number, connection)) = ended else { continue };
                    self.under_way.remove(&number);
                    if let Some(connection) = connection {
                        return connection;
                    }
                }
            }
        }
    }

    /// A connection in plain text is ready; for one over TLS a handshake begins.
    fn begin(&mut self, stream: TcpStream, place: Place) -> Option<Connection> {
        let begin_until = Instant::now() + self.rules.handshake_timeout;
        let tcp = stream.connect_info();
        let Some((config, metrics)) = self.tls.server_side() else {
            let info = ConnectionInfo { tcp, peer: None };
            let stream = Box::new(stream);
            return Some(Connection::new(stream, info, &self.cut, begin_until, place));
        };
        if self.under_way.len() >= self.rules.max_handshakes
            && let Some((_, oldest)) = self.under_way.pop_first()
        {
            oldest.abort();
            metrics.count_handshake("given_up");
        }
        let number = self.next_number;
        self.next_number += 1;
        let cut = self.cut.clone();
        let handshake = self.handshakes.spawn(async move {
            let Some((stream, peer)) = shake_hands(stream, config, begin_until, &metrics).await
            else {
                return (number, None);
            };
            let info = ConnectionInfo {
                tcp,
                peer: Some(peer),
            };
            let stream = Box::new(stream);
            let connection = Connection::new(stream, info, &cut, begin_until, place);
            (number, Some(connection))
        });
        self.under_way.insert(number, handshake);
        None
    }
}

async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, Place) {
    loop {
        let reserved = places.reserve().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(place) = reserved.or_else(|| places.find()) else {
                    // It is closed.
                    continue;
                };
                // Without it answers are only later.
                let _ = stream.set_nodelay(true);
                return (stream, place);
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// The connection and who is at its other end, or none if they are no client of ours.
async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    until: Instant,
    metrics: &TlsMetrics,
) -> Option<(TlsStream<TcpStream>, PeerIdentity)> {
    let address = stream.peer_addr().ok();
    let handshake = TlsAcceptor::from(config).accept(stream);
    let refused = |reason: &dyn std::fmt::Display| {
        metrics.count_handshake("refused");
        tracing::info!(?address, %reason, "a TLS handshake failed");
    };
    match timeout_at(until, handshake).await {
        Err(_) => {
            metrics.count_handshake("timed_out");
            tracing::debug!(?address, "a TLS handshake took too long");
            None
        }
        Ok(Err(error)) => {
            refused(&error);
            None
        }
        Ok(Ok(stream)) => match identify(&stream) {
            Ok(peer) => {
                metrics.count_handshake("done");
                Some((stream, peer))
            }
            Err(reason) => {
                refused(&reason);
                None
            }
        },
    }
}

fn identify(stream: &TlsStream<TcpStream>) -> Result<PeerIdentity, String> {
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        return Err("the client has not asked for HTTP/2".to_owned());
    }
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    match certificate {
        Some(certificate) => peer_of(certificate).map_err(|error| error.to_string()),
        None => Ok(PeerIdentity::default()),
    }
}
