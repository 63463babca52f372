//! Response bodies that end a stream: a gRPC status comes after the messages, in the trailers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::observe::{Observation, grpc_code};
use crate::access::{AccessEnd, AccessMetrics, EndReason};
use crate::deadline::Deadline;
use crate::status;

type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// How often a client that lost its stream to a shutdown should wait before it asks elsewhere.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// A stream that ends at its deadline, with what let it in, or when the server shuts down.
pub(super) struct EndingBody {
    inner: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    access_end: Option<EndOfAccess>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    has_ended: bool,
}

struct EndOfAccess {
    at: Instant,
    passed: Pin<Box<Sleep>>,
    reason: EndReason,
    metrics: AccessMetrics,
}

impl EndOfAccess {
    fn told(&self) -> Status {
        self.metrics.stream_ended(self.reason);
        self.reason.into_status()
    }
}

impl EndingBody {
    pub(super) fn new(
        inner: Body,
        deadline: Deadline,
        access_end: Option<(AccessEnd, AccessMetrics)>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            inner,
            deadline: deadline.instant().map(|at| Box::pin(sleep_until(at))),
            access_end: access_end.map(|(end, metrics)| EndOfAccess {
                at: end.at,
                passed: Box::pin(sleep_until(end.at)),
                reason: end.reason,
                metrics,
            }),
            shutdown: Box::pin(shutdown.cancelled_owned()),
            has_ended: false,
        }
    }

    /// The end with this status, after the messages that went out.
    fn ended(&mut self, status: &Status) -> PolledFrame {
        self.has_ended = true;
        // Frees what the stream holds, before the client has read the end.
        self.inner = Body::empty();
        Poll::Ready(Some(Ok(trailers(status))))
    }

    fn end(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Some(status::deadline_exceeded());
        }
        if let Some(end) = &mut self.access_end
            && end.passed.as_mut().poll(cx).is_ready()
        {
            return Some(end.told());
        }
        if self.shutdown.as_mut().poll(cx).is_ready() {
            let description = "the server is shutting down";
            return Some(status::unavailable(
                "SHUTTING_DOWN",
                description,
                RECONNECT_AFTER,
            ));
        }
        None
    }
}

impl http_body::Body for EndingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        // What never pauses does not outlive what let it in either.
        if let Some(end) = &this.access_end
            && end.at <= Instant::now()
        {
            let status = end.told();
            return this.ended(&status);
        }
        // A message that is ready goes out first: the last one of a health watch, say. Streams that
        // never pause are cut off by the server's grace time.
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match this.end(cx) {
            Some(status) => this.ended(&status),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A response whose end is observed, and whose panics become INTERNAL.
pub(super) struct ObservedBody {
    inner: Body,
    observation: Observation,
    has_ended: bool,
}

impl ObservedBody {
    pub(super) fn new(inner: Body, observation: Observation) -> Self {
        Self {
            inner,
            observation,
            has_ended: false,
        }
    }
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let span = this.observation.span().clone();
        let _entered = span.enter();
        let inner = Pin::new(&mut this.inner);
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll_frame(cx))).unwrap_or_else(|_| {
            this.has_ended = true;
            Poll::Ready(Some(Ok(trailers(&status::internal_unlogged()))))
        });
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(code) = frame.trailers_ref().and_then(grpc_code)
        {
            this.observation.end(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn trailers(status: &Status) -> Frame<Bytes> {
    let mut headers = HeaderMap::new();
    // Fails only for messages that are no header values; ours are ASCII text.
    if status.add_header(&mut headers).is_err() {
        tracing::error!("a status could not be written");
    }
    Frame::trailers(headers)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body::Body as _;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn what_never_pauses_ends_with_what_let_it_in() {
        let message = Ok::<_, Infallible>(Bytes::from_static(b"message"));
        let busy = Body::from_stream(stream::repeat(message));
        let end = AccessEnd {
            at: Instant::now() + Duration::from_millis(500),
            reason: EndReason::RenewalDue,
        };
        let metrics = Metrics::new("test");
        let access = Some((end, metrics.access.clone()));
        let mut body = EndingBody::new(busy, Deadline::NONE, access, CancellationToken::new());
        let mut next = || {
            let mut context = Context::from_waker(std::task::Waker::noop());
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => frame.into_trailers().ok(),
                _ => panic!("it never pauses"),
            }
        };
        assert!(next().is_none(), "a message");
        sleep_until(end.at).await;
        let trailers = next().expect("the end");
        assert_eq!(grpc_code(&trailers), Some(tonic::Code::Unavailable));
        let counted = r#"plazo_access_streams_ended_total{reason="STREAM_RENEWAL_DUE"} 1"#;
        assert!(metrics.encode().contains(counted));
    }
}
