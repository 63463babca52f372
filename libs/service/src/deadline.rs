//! The instant until which a call's answer is of use.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::status;

/// A call's deadline. The server takes it from the caller's `grpc-timeout` (capped; a default for
/// unary calls) and hands it to the handler in the request's extensions; the handler passes what
/// remains on to the calls that it makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// A deadline that never comes, for streams and background work.
    pub const NONE: Self = Self(None);

    /// The deadline of the call that `request` belongs to.
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }

    /// A deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self::at(Instant::now() + timeout)
    }

    /// A deadline at `instant`.
    pub fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// The instant, if there is one.
    pub fn instant(self) -> Option<Instant> {
        self.0
    }

    /// The time left: zero if the deadline has passed, none if there is no deadline.
    pub fn remaining(self) -> Option<Duration> {
        self.0
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether the deadline has passed.
    pub fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// The earlier of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(two)) => Self::at(one.min(two)),
            (one, two) => Self(one.or(two)),
        }
    }

    /// A request that carries this deadline as its `grpc-timeout`.
    pub fn request<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(remaining) = self.remaining() {
            request.set_timeout(remaining);
        }
        request
    }

    /// Runs `future` until the deadline; afterwards it is dropped, and the answer is
    /// DEADLINE_EXCEEDED.
    pub async fn bound<T>(
        self,
        future: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        match self.0 {
            None => future.await,
            Some(at) => tokio::time::timeout_at(at, future)
                .await
                .unwrap_or_else(|_| Err(status::deadline_exceeded())),
        }
    }
}

/// When this will be on the clock that timers go by; at once for what is over. None for what is too far away to be waited for.
pub(crate) fn instant_of(at: Timestamp) -> Option<Instant> {
    let left = at.duration_since(Timestamp::now());
    Instant::now().checked_add(left.try_into().unwrap_or_default())
}
