//! The connections that can take calls.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::client::conn::http2::SendRequest;
use rand::Rng as _;
use tokio::sync::Notify;
use tonic::body::Body;

/// A connection to one address.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    in_flight: AtomicUsize,
    has_answered: AtomicBool,
}

impl Connection {
    pub(super) fn new(sender: SendRequest<Body>) -> Self {
        Self {
            sender,
            in_flight: AtomicUsize::new(0),
            has_answered: AtomicBool::new(false),
        }
    }

    /// Whether the server has answered a call.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }
}

/// The connections that can take calls.
#[derive(Debug)]
pub(super) struct Connections {
    ready: Mutex<Vec<Arc<Connection>>>,
    added: Notify,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self {
            ready: Mutex::default(),
            added: Notify::new(),
        }
    }

    pub(super) fn add(&self, connection: Arc<Connection>) {
        self.ready().push(connection);
        self.added.notify_waiters();
    }

    /// It gets no more calls; those that it has go on.
    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        self.ready().retain(|other| !Arc::ptr_eq(other, connection));
    }

    /// The better of two, as soon as there is one at all.
    pub(super) async fn pick(&self) -> Arc<Connection> {
        loop {
            let mut added = pin!(self.added.notified());
            // From now on, so that none is missed between the look and the wait.
            added.as_mut().enable();
            if let Some(connection) = self.pick_now() {
                return connection;
            }
            added.await;
        }
    }

    fn pick_now(&self) -> Option<Arc<Connection>> {
        let mut ready = self.ready();
        // Whoever closed it is not heard of in any other way while calls are still under way.
        ready.retain(|connection| !connection.sender.is_closed());
        let count = ready.len();
        let first = match count {
            0 => return None,
            1 => return Some(Arc::clone(&ready[0])),
            _ => rand::rng().random_range(0..count),
        };
        let other = (first + rand::rng().random_range(1..count)) % count;
        let load = |index: usize| ready[index].in_flight.load(Ordering::Relaxed);
        let better = if load(other) < load(first) {
            other
        } else {
            first
        };
        Some(Arc::clone(&ready[better]))
    }

    /// A panic while the lock is held leaves nothing half-changed.
    fn ready(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call on a connection, until its answer has ended.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Connection>);

impl InFlight {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    pub(super) fn is_answered(&self) {
        self.0.has_answered.store(true, Ordering::Relaxed);
    }

    pub(super) fn sender(&self) -> SendRequest<Body> {
        self.0.sender.clone()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
