//! Connections to mail servers, which are used again.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use plazo_proto::notification::v1::SmtpTls;
use plazo_service::Redacted;
use tokio::time::Instant;
use url::Host;

use super::expect;
use super::verdict::{Failure, Step};
use crate::config::EmailConfig;
use crate::sending::roots::Roots;

/// Many servers close a connection after about so many.
const MESSAGES_MAX: u32 = 100;

/// A mail server as an account uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) account_id: i64,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: SmtpTls,
    pub(super) user: String,
    pub(super) password: Redacted<String>,
    /// How we introduce ourselves.
    pub(super) hello_name: String,
}

/// An open connection of an authenticated user.
pub(super) struct Connection {
    pub(super) smtp: AsyncSmtpConnection,
    server: Server,
    /// How many it has carried.
    messages: u32,
    /// Since when nobody uses it.
    idle_since: Instant,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.server)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

/// Connections that nobody uses at the moment, those of all accounts.
#[derive(Debug)]
pub(super) struct Connections {
    idle: Mutex<Vec<Connection>>,
    idle_max: usize,
    idle_timeout: Duration,
    connect_timeout: Duration,
    roots: Roots,
}

impl Connections {
    pub(super) fn new(config: &EmailConfig, roots: &Roots) -> Self {
        Self {
            idle: Mutex::default(),
            idle_max: config.max_idle_connections,
            idle_timeout: Duration::from_millis(config.idle_timeout_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            roots: roots.clone(),
        }
    }

    /// One that is open already: the same server, user and password.
    pub(super) fn take(&self, server: &Server) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fit = |one: &Connection| {
            one.server == *server && one.idle_since.elapsed() < self.idle_timeout
        };
        let place = idle.iter().rposition(is_fit)?;
        Some(idle.swap_remove(place))
    }

    /// After a message, for the next one. When there are too many, or it has carried enough, it is closed.
    pub(super) fn put_back(&self, mut connection: Connection) {
        connection.messages += 1;
        if connection.messages >= MESSAGES_MAX {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }

    /// Closes those that nobody needed for a while.
    pub(super) fn forget_idle(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|one| one.idle_since.elapsed() < self.idle_timeout);
    }

    /// Connects to one of the addresses and to no other, and authenticates.
    pub(super) async fn open(
        &self,
        server: &Server,
        addresses: &[SocketAddr],
    ) -> Result<Connection, Failure> {
        let failed = |step| {
            move |error: lettre::transport::smtp::Error| Failure {
                step,
                code: error.status().map(u16::from),
            }
        };
        let hello_name = ClientId::Domain(server.hello_name.clone());
        // The name that the certificate must have.
        let certified = match Host::parse(&server.host) {
            Ok(Host::Ipv6(ip)) => ip.to_string(),
            Ok(host) => host.to_string(),
            Err(_) => server.host.clone(),
        };
        let parameters = || {
            let certificates = self.roots.smtp().into_iter();
            certificates
                .fold(TlsParameters::builder(certified), |builder, certificate| {
                    builder.add_root_certificate(certificate)
                })
                .build()
                .map_err(failed(Step::Tls))
        };
        let (implicit, upgrade) = match server.tls {
            SmtpTls::Implicit => (Some(parameters()?), None),
            SmtpTls::Starttls => (None, Some(parameters()?)),
            SmtpTls::None | SmtpTls::Unspecified => (None, None),
        };
        let connecting = AsyncSmtpConnection::connect_tokio1(
            addresses,
            Some(self.connect_timeout),
            &hello_name,
            implicit,
            None,
        );
        let mut smtp = connecting.await.map_err(failed(Step::Connection))?;
        if let Some(upgrade) = upgrade {
            let upgrading = smtp.starttls(upgrade, &hello_name);
            upgrading.await.map_err(failed(Step::Tls))?;
        }
        let secrets = Credentials::new(server.user.clone(), server.password.0.clone());
        let answer = smtp
            .auth(&[Mechanism::Plain, Mechanism::Login], &secrets)
            .await;
        expect(Step::Authentication, answer, &[235])?;
        Ok(Connection {
            smtp,
            server: server.clone(),
            messages: 0,
            idle_since: Instant::now(),
        })
    }
}
