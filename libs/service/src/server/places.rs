//! How many connections a socket has at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// `plazo_server_connections` and `plazo_server_connections_refused_total`.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionMetrics {
    open: Gauge,
    refused: Counter,
}

impl ConnectionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            open: Gauge::default(),
            refused: Counter::default(),
        };
        registry.register(
            "connections",
            "Connections of the gRPC port that are open, those that shake hands among them",
            metrics.open.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections of the gRPC port that were closed at once because there were server.max_connections",
            metrics.refused.clone(),
        );
        metrics
    }
}

/// The places that a socket has for connections.
#[derive(Debug)]
pub(super) struct Places {
    permits: Arc<Semaphore>,
    max: usize,
    when_full: WhenFull,
    is_refusing: AtomicBool,
}

/// What becomes of a connection for which there is no place.
#[derive(Debug, Clone)]
pub(super) enum WhenFull {
    /// It waits with the system until there is one.
    Wait,
    /// It is closed at once, so that its client learns it and may try another replica.
    Refuse(ConnectionMetrics),
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: Option<Gauge>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.dec();
        }
    }
}

impl Places {
    pub(super) fn new(max: usize, when_full: WhenFull) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            max,
            when_full,
            is_refusing: AtomicBool::new(false),
        }
    }

    /// A place for the next connection before it is taken from the system; none where one without a place is refused.
    pub(super) async fn reserve(&self) -> Option<Place> {
        match self.when_full {
            WhenFull::Wait => {
                // Fails only when it is closed, which nobody does.
                let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
                Some(self.place(permit))
            }
            WhenFull::Refuse(_) => None,
        }
    }

    /// A place for a connection that was taken from the system. None if it is to be closed.
    pub(super) fn find(&self) -> Option<Place> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let is_refused = permit.is_err();
        let was_refusing = self.is_refusing.swap(is_refused, Ordering::Relaxed);
        if is_refused && let WhenFull::Refuse(metrics) = &self.when_full {
            metrics.refused.inc();
        }
        if is_refused && !was_refusing {
            tracing::warn!(
                max_connections = self.max,
                "there are as many connections as there may be, and further ones are closed"
            );
        }
        permit.ok().map(|permit| self.place(permit))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        let open = match &self.when_full {
            WhenFull::Wait => None,
            WhenFull::Refuse(metrics) => Some(metrics.open.clone()),
        };
        if let Some(open) = &open {
            open.inc();
        }
        Place {
            _permit: permit,
            open,
        }
    }
}
