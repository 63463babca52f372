//! The layer that ends calls at their deadline.
//!
//! tonic has one of its own, which answers CANCELLED and can't be switched off where a caller gives a
//! `grpc-timeout`. So this one must always be first: its time begins no later (see [`Arrival`]), and it
//! looks at the clock whenever it is polled, not only at its own timer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::body::EndingBody;
use super::methods::Methods;
use crate::access::{AccessEnd, AccessMetrics};
use crate::deadline::Deadline;
use crate::status;

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// By the protocol. More digits than these are no timeout.
const MAX_TIMEOUT_DIGITS: usize = 8;

/// When a call came in; in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival(pub(crate) Instant);

/// How long calls may take.
#[derive(Debug)]
pub(super) struct DeadlineRules {
    pub(super) methods: Arc<Methods>,
    /// For unary calls whose caller says nothing.
    pub(super) default: Duration,
    /// For unary calls, whatever the caller says.
    pub(super) max: Duration,
    /// Streams end when this is cancelled.
    pub(super) end_streams: CancellationToken,
    pub(super) metrics: AccessMetrics,
}

/// Puts the [`Deadline`] into the request's extensions, and answers DEADLINE_EXCEEDED when it passes. A
/// stream has only the deadline that its caller gives.
pub(super) async fn limit_time(
    State(rules): State<Arc<DeadlineRules>>,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = match read_timeout(request.headers()) {
        Ok(asked) => asked,
        Err(status) => return status.into_http(),
    };
    let is_streaming = rules.methods.is_streaming(request.uri().path());
    let timeout = if is_streaming {
        asked
    } else {
        Some(asked.unwrap_or(rules.default).min(rules.max))
    };
    let arrival = super::arrival_of(&request);
    let deadline = timeout.map_or(Deadline::NONE, |timeout| Deadline::at(arrival + timeout));
    request.extensions_mut().insert(deadline);

    let response = run_until(deadline, next.run(request)).await;
    if is_streaming {
        let end = rules.end_streams.clone();
        let access_end = response.extensions().get::<AccessEnd>();
        let access_end = access_end.map(|end| (*end, rules.metrics.clone()));
        response.map(|body| axum::body::Body::new(EndingBody::new(body, deadline, access_end, end)))
    } else {
        response
    }
}

async fn run_until(deadline: Deadline, call: impl Future<Output = Response>) -> Response {
    let Some(at) = deadline.instant() else {
        return call.await;
    };
    let mut call = pin!(call);
    let mut passed = pin!(sleep_until(at));
    poll_fn(|cx| {
        if let Poll::Ready(response) = call.as_mut().poll(cx) {
            return Poll::Ready(response);
        }
        if passed.as_mut().poll(cx).is_ready() || deadline.has_passed() {
            return Poll::Ready(status::deadline_exceeded().into_http());
        }
        Poll::Pending
    })
    .await
}

fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(parse_timeout) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(status::invalid(
            GRPC_TIMEOUT,
            "must be up to 8 digits and a unit",
        )),
    }
}

/// A `grpc-timeout`.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number =
        digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= MAX_TIMEOUT_DIGITS;
    let amount: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        for (text, expected) in [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999n", None),
            ("", None),
            ("S", None),
            ("+5S", None),
            ("5s", None),
            ("5é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text:?}");
        }
    }
}
