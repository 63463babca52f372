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
use crate::access::Refusal;
use crate::deadline::Deadline;
use crate::status;

type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// How often a client that lost its stream to a shutdown should wait before it asks elsewhere.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// A stream that ends at its deadline, with the token that it was opened with, or when the server shuts down.
pub(super) struct EndingBody {
    inner: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    access_end: Option<Pin<Box<Sleep>>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    has_ended: bool,
}

impl EndingBody {
    pub(super) fn new(
        inner: Body,
        deadline: Deadline,
        access_end: Option<Instant>,
        shutdown: CancellationToken,
    ) -> Self {
        let sleep = |until: Option<Instant>| until.map(|at| Box::pin(sleep_until(at)));
        Self {
            inner,
            deadline: sleep(deadline.instant()),
            access_end: sleep(access_end),
            shutdown: Box::pin(shutdown.cancelled_owned()),
            has_ended: false,
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        let mut has_passed = |at: &mut Option<Pin<Box<Sleep>>>| {
            at.as_mut()
                .is_some_and(|at| at.as_mut().poll(cx).is_ready())
        };
        if has_passed(&mut self.deadline) {
            return Some(status::deadline_exceeded());
        }
        if has_passed(&mut self.access_end) {
            return Some(Refusal::TokenExpired.into_status());
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
        // A message that is ready goes out first: the last one of a health watch, say. Streams that
        // never pause are cut off by the server's grace time.
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match this.end(cx) {
            Some(status) => {
                this.has_ended = true;
                // Frees what the stream holds, before the client has read the end.
                this.inner = Body::empty();
                Poll::Ready(Some(Ok(trailers(&status))))
            }
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
