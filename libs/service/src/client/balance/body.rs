//! The body of an answer, whose end is the end of the call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::Shared;
use super::connections::InFlight;

/// A body that keeps the call counted, and the connections alive, until it ends or is dropped.
#[derive(Debug)]
pub(super) struct CountedBody {
    body: Incoming,
    call: Option<(InFlight, Arc<Shared>)>,
}

impl CountedBody {
    pub(super) fn new(body: Incoming, call: InFlight, owner: Arc<Shared>) -> Self {
        Self {
            body,
            call: Some((call, owner)),
        }
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.call = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
