//! Making a connection, over TLS or not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::Service;

use super::TCP_KEEPALIVE;
use crate::config::{ClientConfig, ConfigError};
use crate::status::chain;
use crate::tls::{ALPN, Tls};

/// Why there is no connection.
pub(super) type DialError = Box<dyn std::error::Error + Send + Sync>;

/// Plain text or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type Io = TokioIo<Box<dyn Stream>>;

/// Connects to the server of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    tcp: HttpConnector,
    tls: Option<DialTls>,
}

#[derive(Debug, Clone)]
struct DialTls {
    tls: Tls,
    /// What is asked for, and, without an identity, must be in the certificate.
    name: ServerName<'static>,
    identity: Option<Arc<str>>,
}

/// What an endpoint names.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
}

impl Target {
    pub(super) fn of(config: &ClientConfig) -> Result<Self, ConfigError> {
        let refuse = |problem: String| ConfigError::value("endpoint", problem);
        let uri: Uri = config
            .endpoint
            .parse()
            .map_err(|error: http::uri::InvalidUri| refuse(error.to_string()))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refuse("must begin with http:// or https://".to_owned())),
        };
        let host = uri
            .host()
            .ok_or_else(|| refuse("must have a host".to_owned()))?;
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
        })
    }
}

impl Target {
    /// Where to connect to, whatever is spoken there.
    pub(super) fn tcp(&self) -> String {
        if self.host.contains(':') {
            format!("http://[{}]:{}", self.host, self.port)
        } else {
            format!("http://{}:{}", self.host, self.port)
        }
    }
}

impl Dial {
    pub(super) fn new(
        config: &ClientConfig,
        target: &Target,
        tls: &Tls,
    ) -> Result<Self, ConfigError> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.set_connect_timeout(Some(Duration::from_millis(config.connect_timeout_ms)));
        let tls = if target.is_tls {
            if !tls.is_on() {
                return Err(ConfigError::value(
                    "endpoint",
                    "begins with https, for which there must be a section [tls]",
                ));
            }
            let name = ServerName::try_from(target.host.clone())
                .map_err(|error| ConfigError::value("endpoint", error.to_string()))?;
            Some(DialTls {
                tls: tls.clone(),
                name,
                identity: config.server_identity.as_deref().map(Arc::from),
            })
        } else {
            None
        };
        Ok(Self { tcp, tls })
    }

    /// A connection to `http://host:port`, whatever is spoken over it.
    pub(super) async fn connect(mut self, address: Uri) -> Result<Io, DialError> {
        let tcp = self.tcp.call(address).await?.into_inner();
        let Some(DialTls {
            tls,
            name,
            identity,
        }) = self.tls
        else {
            return Ok(TokioIo::new(Box::new(tcp)));
        };
        let config = tls
            .client_side(identity.as_ref())
            .ok_or("there is no TLS")?;
        let handshake = TlsConnector::from(config).connect(name, tcp);
        let stream = handshake.await.inspect_err(|error| {
            tracing::warn!(error = chain(error), "a TLS handshake with a server failed");
        })?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err("the server has not agreed to HTTP/2".into());
        }
        Ok(TokioIo::new(Box::new(stream)))
    }
}

/// For tonic's channel.
impl Service<Uri> for Dial {
    type Response = Io;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Io, DialError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        Box::pin(self.clone().connect(address))
    }
}
