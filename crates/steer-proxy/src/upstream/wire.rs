//! The bytes between the engine and a destination, or a proxy before it.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use steer_tls::client::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::relay::Leg;

/// A connected stream: a socket, or TLS with proxies on one.
///
/// A socket is as cheap as it would be by itself: the relay splices it.
#[derive(Debug)]
pub(crate) enum Wire {
    /// A socket of the kernel.
    Plain(TcpStream),
    /// TLS with a proxy, maybe within that with another one.
    Sealed(Box<TlsStream<Self>>),
}

impl Wire {
    /// The socket at the bottom.
    pub(crate) fn socket(&self) -> &TcpStream {
        let mut wire = self;
        loop {
            match wire {
                Self::Plain(socket) => return socket,
                Self::Sealed(tls) => wire = tls.get_ref().0,
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Sealed(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Sealed(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Sealed(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Sealed(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Sealed(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Sealed(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl Leg for Wire {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Sealed(_) => None,
        }
    }

    fn reset_on_close(&self) {
        // Fails only on a socket that is gone, which needs no reset.
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    fn close_in_order(&self) {
        // As above.
        let _ = SockRef::from(self.socket()).set_linger(None);
    }

    fn pending_error(&self) -> Option<io::Error> {
        self.socket().take_error().unwrap_or_else(Some)
    }
}
