//! The ends of an inspected connection.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use steer_core::steered::Flow;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::seen::Seen;
use crate::relay::Leg;
use crate::upstream::direct::Dialled;

/// The program's end, its bytes counted.
///
/// Dropped before it was shut down, a socket is reset: a client never takes an abort for the end of
/// the data.
#[derive(Debug)]
pub(in crate::engine) struct Counted {
    flow: Flow,
    /// Where it is counted; none where somebody else does.
    seen: Option<Arc<Seen>>,
}

impl Counted {
    /// The end of a program of which so many bytes were read already.
    pub(in crate::engine) fn new(flow: Flow, seen: Option<Arc<Seen>>, read: usize) -> Self {
        let counted = Self { flow, seen };
        counted.sent(read);
        counted
    }

    fn sent(&self, bytes: usize) {
        if let Some(seen) = &self.seen {
            seen.traffic.sent_counter().add(bytes);
        }
    }

    fn received(&self, bytes: usize) {
        if let Some(seen) = &self.seen {
            seen.traffic.received_counter().add(bytes);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let counted = self.get_mut();
        let before = buf.filled().len();
        ready!(match &mut counted.flow {
            Flow::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Flow::Stream(stream) => Pin::new(stream).poll_read(cx, buf),
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        })?;
        let read = buf.filled().len() - before;
        counted.sent(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let written = ready!(match &mut counted.flow {
            Flow::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Flow::Stream(stream) => Pin::new(stream).poll_write(cx, bytes),
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        })?;
        counted.received(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let written = ready!(match &mut counted.flow {
            Flow::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Flow::Stream(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        })?;
        counted.received(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.flow {
            Flow::Tcp(stream) => stream.is_write_vectored(),
            Flow::Stream(stream) => stream.is_write_vectored(),
            _ => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().flow {
            Flow::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Flow::Stream(stream) => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().flow {
            Flow::Tcp(stream) => {
                stream.close_in_order();
                Pin::new(stream).poll_shutdown(cx)
            }
            Flow::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// The server's end, or a proxy's before it.
///
/// A request that breaks off shows in its framing, so dropping it ends the stream in order; where
/// it became a connection of another protocol, dropping it is a reset.
#[derive(Debug)]
pub(in crate::engine) struct Outer {
    dialled: Dialled,
    seen: Arc<Seen>,
    finished: bool,
}

impl Outer {
    pub(in crate::engine) fn new(dialled: Dialled, seen: Arc<Seen>) -> Self {
        Self {
            dialled,
            seen,
            finished: false,
        }
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        if self.finished || !self.seen.is_upgraded() {
            self.dialled.stream.close_in_order();
        }
    }
}

impl AsyncRead for Outer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().dialled.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Outer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().dialled.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().dialled.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.dialled.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().dialled.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            dialled, finished, ..
        } = self.get_mut();
        *finished = true;
        Pin::new(&mut dialled.stream).poll_shutdown(cx)
    }
}
