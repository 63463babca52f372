//! Who the services of a secure cluster are to each other.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::certificates::{Authority, Folder, Issued};
use crate::process::Service;

/// A certificate for each service, of one authority, and one for the tests.
pub(super) struct Certificates {
    authority: Authority,
    folders: BTreeMap<Service, Folder>,
    gateway: Issued,
    files: TempDir,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    pub(super) fn new() -> Self {
        let authority = Authority::new("cluster");
        let folder = |service: Service| {
            let issued = authority.issue(&identity(service.name()));
            (service, Folder::new(&issued, &[authority.pem()]))
        };
        Self {
            folders: Service::ALL.into_iter().map(folder).collect(),
            gateway: authority.issue(&identity("gateway")),
            authority,
            files: TempDir::new().expect("a folder"),
        }
    }

    /// Replaces all certificates and keys but the tests' own.
    pub(super) fn rotate(&self) {
        for (service, folder) in &self.folders {
            let issued = self.authority.issue(&identity(service.name()));
            folder.replace(&issued, &[self.authority.pem()]);
        }
    }

    /// For calls as the gateway.
    pub(super) fn of_gateway(&self) -> ClientTlsConfig {
        let Issued { certificate, key } = &self.gateway;
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .identity(Identity::from_pem(certificate, key))
    }

    /// The part of a service's configuration that only a file can hold: which services may call it.
    pub(super) fn file(&self, service: Service) -> PathBuf {
        let mut text = String::new();
        for (caller, methods) in callers(service) {
            let (identity, service) = (identity(caller.name()), caller.name());
            let methods: Vec<_> = methods.iter().map(|of| format!("/plazo.{of}/*")).collect();
            let _ = writeln!(
                text,
                "[[access.peers]]\nidentity = \"{identity}\"\nservice = \"{service}\"\nmethods = {methods:?}"
            );
        }
        let path = self.files.path().join(format!("{}.toml", service.name()));
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// What makes a service one of this cluster, beside endpoints that begin with https.
    pub(super) fn configuration(&self, service: Service) -> Vec<(&'static str, String)> {
        let folder = &self.folders[&service];
        let path = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        let yes = || "true".to_owned();
        let is = |name: Service| identity(name.name());
        let mut keys = vec![
            ("TLS__CERTIFICATE_FILE", path(folder.certificate())),
            ("TLS__KEY_FILE", path(folder.key())),
            ("TLS__ROOTS_FILE", path(folder.roots())),
            ("TLS__RELOAD_INTERVAL_MS", "50".to_owned()),
            // So that connections are made anew while a test runs.
            ("SERVER__MAX_CONNECTION_AGE_MS", "500".to_owned()),
            // Agents come without tokens; services don't need it.
            ("ACCESS__BELIEVE_METADATA", yes()),
        ];
        match service {
            Service::Ticketing => keys.extend([
                ("TIMER__SERVER_IDENTITY", is(Service::Timer)),
                ("TIMER__BALANCE", yes()),
            ]),
            Service::Timer => keys.extend([
                ("HANDLER__SERVER_IDENTITY", is(Service::Ticketing)),
                ("HANDLER__BALANCE", yes()),
                ("NOTIFICATION__SERVER_IDENTITY", is(Service::Notification)),
                ("NOTIFICATION__BALANCE", yes()),
            ]),
            Service::Notification | Service::History => keys.extend([
                ("TICKETING__SERVER_IDENTITY", is(Service::Ticketing)),
                ("TICKETING__BALANCE", yes()),
            ]),
        }
        keys
    }
}

/// Who calls a service, and which of its services.
fn callers(service: Service) -> &'static [(Service, &'static [&'static str])] {
    match service {
        Service::Ticketing => &[
            (Service::Timer, &["timer.v1.TicketHandlerService"]),
            (
                Service::Notification,
                &[
                    "ticketing.v1.FeedService",
                    "ticketing.v1.MessageStateService",
                    "ticketing.v1.InboundService",
                    "ticketing.v1.ErasureService",
                ],
            ),
            (
                Service::History,
                &[
                    "ticketing.v1.FeedService",
                    "ticketing.v1.SnapshotService",
                    "ticketing.v1.ErasureService",
                    "ticketing.v1.OutreachService",
                ],
            ),
        ],
        Service::Timer => &[(Service::Ticketing, &["timer.v1.TimerService"])],
        Service::Notification => &[(Service::Timer, &["notification.v1.NotificationService"])],
        Service::History => &[],
    }
}

/// The URI by which a service, or the gateway, is known.
fn identity(name: &str) -> String {
    format!("spiffe://plazo/ns/plazo/sa/{name}")
}
