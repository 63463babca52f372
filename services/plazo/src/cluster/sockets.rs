//! The sockets of a cluster, taken before anything is started.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use plazo_service::Listeners;
use tokio::net::TcpListener;

use super::error::ClusterError;
use super::options::{METRICS_PORT_OFFSET, Service};

/// The highest first port: the metrics of the last service still have one.
const HIGHEST_PORT: u16 = u16::MAX - METRICS_PORT_OFFSET - 3;

/// The listeners of all services, in the order of [`Service::ALL`], and where they are.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) listeners: [Listeners; 4],
    addresses: Addresses,
}

/// Where the services are.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    /// For gRPC and for metrics, in the order of [`Service::ALL`].
    all: [(SocketAddr, SocketAddr); 4],
}

impl Addresses {
    pub(super) fn grpc(&self, service: Service) -> SocketAddr {
        self.all[service.index()].0
    }

    pub(super) fn metrics(&self, service: Service) -> SocketAddr {
        self.all[service.index()].1
    }
}

impl Sockets {
    /// Takes the ports that follow from the first one, or free ones for 0.
    pub(super) async fn bind(port: u16) -> Result<Self, ClusterError> {
        if port > HIGHEST_PORT {
            return Err(ClusterError::PortTooHigh {
                port,
                highest: HIGHEST_PORT,
            });
        }
        let (ticketing, timer, notification, history) = tokio::try_join!(
            bind(port, Service::Ticketing),
            bind(port, Service::Timer),
            bind(port, Service::Notification),
            bind(port, Service::History),
        )?;
        let addresses = [ticketing.1, timer.1, notification.1, history.1];
        let listeners = [ticketing.0, timer.0, notification.0, history.0];
        Ok(Self {
            listeners,
            addresses: Addresses { all: addresses },
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }
}

async fn bind(
    first_port: u16,
    service: Service,
) -> Result<(Listeners, (SocketAddr, SocketAddr)), ClusterError> {
    let (port, metrics_port) = match (first_port, service.offset()) {
        (0, _) => (0, 0),
        (first, offset) => (first + offset, first + offset + METRICS_PORT_OFFSET),
    };
    let (grpc, at) = listen(port, service.name().to_owned()).await?;
    let (metrics, metrics_at) = listen(metrics_port, format!("metrics of {service}")).await?;
    Ok((
        Listeners {
            grpc,
            metrics: Some(metrics),
            health: None,
        },
        (at, metrics_at),
    ))
}

async fn listen(port: u16, what: String) -> Result<(TcpListener, SocketAddr), ClusterError> {
    let bound = async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source: std::io::Error| {
        if source.kind() == ErrorKind::AddrInUse {
            ClusterError::PortInUse { port, what }
        } else {
            ClusterError::Listen { port, what, source }
        }
    })
}
