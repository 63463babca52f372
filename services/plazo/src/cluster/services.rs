//! The four services: their configuration, and their start.

use std::collections::BTreeMap;

use plazo_local::DataFolder;
use plazo_service::access::IssuerConfig;
use plazo_service::config::{ConfigSources, load};
use plazo_service::{AccessConfig, ServiceConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::ClusterError;
use super::options::{ClusterOptions, Service};
use super::servers::Servers;
use super::sockets::{Addresses, Sockets};
use crate::issuer::DevelopmentIssuer;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A service that has ended, and how.
pub(super) type Ended = (Service, Result<(), Source>);

/// Builds all services, and then lets them run.
pub(super) async fn start(
    options: &ClusterOptions,
    servers: &Servers,
    sockets: Sockets,
    running: &mut JoinSet<Ended>,
    shutdown: &CancellationToken,
) -> Result<(), ClusterError> {
    let settings = Settings {
        options,
        issuer: issuer(options)?,
        servers,
        addresses: &sockets.addresses(),
    };
    let [for_ticketing, for_timer, for_notification, for_history] = sockets.listeners;

    let ticketing = async {
        let mut config = settings.load::<plazo_ticketing::Config>(Service::Ticketing)?;
        settings.let_in(&mut config.access);
        let app = plazo_ticketing::App::build(config, for_ticketing).await;
        app.map_err(cant_start(Service::Ticketing))
    };
    let timer = async {
        let mut config = settings.load::<plazo_timer::Config>(Service::Timer)?;
        settings.let_in(&mut config.access);
        plazo_timer::App::build(config, for_timer)
            .await
            .map_err(cant_start(Service::Timer))
    };
    let notification = async {
        let mut config = settings.load::<plazo_notification::Config>(Service::Notification)?;
        settings.let_in(&mut config.access);
        let app = plazo_notification::App::build(config, for_notification).await;
        app.map_err(cant_start(Service::Notification))
    };
    let history = async {
        let mut config = settings.load::<plazo_history::Config>(Service::History)?;
        settings.let_in(&mut config.access);
        plazo_history::App::build(config, for_history)
            .await
            .map_err(cant_start(Service::History))
    };
    let (ticketing, timer, notification, history) =
        tokio::try_join!(ticketing, timer, notification, history)?;

    run(running, Service::Ticketing, ticketing.run(shutdown.clone()));
    run(running, Service::Timer, timer.run(shutdown.clone()));
    run(
        running,
        Service::Notification,
        notification.run(shutdown.clone()),
    );
    run(running, Service::History, history.run(shutdown.clone()));
    Ok(())
}

fn run<E: Into<Source>>(
    running: &mut JoinSet<Ended>,
    service: Service,
    app: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    running.spawn(async move { (service, app.await.map_err(Into::into)) });
}

fn cant_start<E: Into<Source>>(service: Service) -> impl FnOnce(E) -> ClusterError {
    move |error| ClusterError::ServiceStart {
        service,
        source: error.into(),
    }
}

/// The issuer in the data folder; none where nothing is kept.
fn issuer(options: &ClusterOptions) -> Result<Option<IssuerConfig>, ClusterError> {
    match &options.data {
        DataFolder::Persistent(folder) if !folder.as_os_str().is_empty() => {
            let issuer = DevelopmentIssuer::open_or_make(folder)?;
            Ok(Some(issuer.config()))
        }
        _ => Ok(None),
    }
}

/// What the cluster decides about the configuration of its services.
struct Settings<'a> {
    options: &'a ClusterOptions,
    issuer: Option<IssuerConfig>,
    servers: &'a Servers,
    addresses: &'a Addresses,
}

impl Settings<'_> {
    fn load<C: ServiceConfig>(&self, service: Service) -> Result<C, ClusterError> {
        let mut environment = self.options.environment.clone();
        environment.extend(self.of(service));
        load(&ConfigSources {
            file: None,
            environment,
        })
        .map_err(|source| ClusterError::Config { service, source })
    }

    /// Tokens of the cluster's own issuer are good, and so are metadata: it listens on loopback addresses only.
    fn let_in(&self, access: &mut AccessConfig) {
        access.issuers.extend(self.issuer.clone());
        access.believe_metadata.get_or_insert(true);
    }

    /// As environment variables.
    fn of(&self, service: Service) -> BTreeMap<String, String> {
        let mut keys = vec![
            ("SERVER__LISTEN", self.addresses.grpc(service).to_string()),
            ("SERVER__REFLECTION", "true".to_owned()),
            (
                "SERVER__METRICS_LISTEN",
                self.addresses.metrics(service).to_string(),
            ),
        ];
        if let Some(url) = self.servers.database_url(service) {
            keys.push(("DATABASE__URL", url));
            keys.push(("DATABASE__MIGRATE", "true".to_owned()));
        }
        let endpoint = |of: Service| format!("http://{}", self.addresses.grpc(of));
        match service {
            Service::Ticketing => keys.push(("TIMER__ENDPOINT", endpoint(Service::Timer))),
            Service::Timer => keys.extend([
                ("REDIS__URL", self.servers.redis_url()),
                ("HANDLER__ENDPOINT", endpoint(Service::Ticketing)),
                ("NOTIFICATION__ENDPOINT", endpoint(Service::Notification)),
            ]),
            // Whoever tries webhooks on one machine has their endpoint on the same machine.
            Service::Notification => keys.extend([
                ("TICKETING__ENDPOINT", endpoint(Service::Ticketing)),
                ("WEBHOOK__ALLOW_PRIVATE_NETWORKS", "true".to_owned()),
                ("WEBHOOK__ALLOW_HTTP", "true".to_owned()),
            ]),
            Service::History => keys.push(("TICKETING__ENDPOINT", endpoint(Service::Ticketing))),
        }
        let prefix = format!("PLAZO_{}__", service.name().to_uppercase());
        keys.into_iter()
            .map(|(key, value)| (format!("{prefix}{key}"), value))
            .collect()
    }
}
