//! A connection that can be cut, and knows who is at its other end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::places::Place;
use crate::deadline::instant_of;
use crate::peer::PeerIdentity;

/// What HTTP/2 begins with: `PRI * HTTP/2.0` and what follows it.
const PREFACE_BYTES: usize = 24;

/// When the client's certificate has ended, its streams need a moment to say so, and its calls to be answered.
const EXPIRY_GRACE: Duration = Duration::from_secs(1);

/// Plain text or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Who is at the other end, and where.
#[derive(Debug, Clone)]
pub(super) struct ConnectionInfo {
    pub(super) tcp: TcpConnectInfo,
    /// None over plain text.
    pub(super) peer: Option<PeerIdentity>,
}

/// tonic serves each connection in a task of its own, which only the end of the connection ends. So the
/// bound on shutdown is put here: once the token is cancelled, reads and writes fail. And so are the bound on how long a
/// client may be silent at first, which HTTP/2's own pings do not cover, and the end of its certificate: by a connection of
/// later a client shows the next one.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    info: ConnectionInfo,
    is_cut: CancellationToken,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the client has begun.
    beginning: Option<Beginning>,
    /// Shortly after the end of the client's certificate.
    end: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

struct Beginning {
    missing_bytes: usize,
    bound: Pin<Box<Sleep>>,
}

impl Connection {
    /// A connection whose client must have begun with HTTP/2 at `begin_until`. It holds its place for as long as it lasts.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        info: ConnectionInfo,
        cut: &CancellationToken,
        begin_until: Instant,
        place: Place,
    ) -> Self {
        let not_after = info.peer.as_ref().and_then(|peer| peer.not_after);
        let end = not_after
            .and_then(|not_after| instant_of(not_after.saturating_add(EXPIRY_GRACE).ok()?));
        Self {
            stream,
            info,
            is_cut: cut.clone(),
            cut: Box::pin(cut.clone().cancelled_owned()),
            beginning: Some(Beginning {
                missing_bytes: PREFACE_BYTES,
                bound: Box::pin(sleep_until(begin_until)),
            }),
            end: end.map(|at| Box::pin(sleep_until(at))),
            _place: place,
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut.is_cancelled() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

impl Beginning {
    fn has_begun(&mut self, bytes: usize) -> bool {
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
        self.missing_bytes == 0
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        // HTTP/2 always has a read waiting, so the cut wakes it.
        if self.cut.as_mut().poll(cx).is_ready() {
            self.check()?;
        }
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Some(beginning) = &mut self.beginning else {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        };
        if beginning.bound.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let bytes = buffer.filled().len() - before;
        self.beginning
            .take_if(|beginning| beginning.has_begun(bytes));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
