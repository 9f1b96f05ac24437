//! One end of a relayed connection.
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A stream that the relay can move bytes from and to.
///
/// A leg that is a kernel TCP socket is spliced when it carries bulk and can be reset. Any other
/// stream is copied, and dropped where a socket would be reset.
pub trait Leg: AsyncRead + AsyncWrite + Unpin {
    /// The socket, if bytes of this stream are that socket's bytes.
    fn tcp(&self) -> Option<&TcpStream>;

    /// Makes the coming close a reset.
    fn reset_on_close(&self) {
        if let Some(socket) = self.tcp() {
            // Fails only on a socket that is gone, which needs no reset.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Makes the coming close send what is queued, then FIN.
    fn close_in_order(&self) {
        if let Some(socket) = self.tcp() {
            // As above.
            let _ = SockRef::from(socket).set_linger(None);
        }
    }

    /// The error that waits on the socket for its next user, taken from it.
    fn pending_error(&self) -> Option<io::Error> {
        self.tcp()?.take_error().unwrap_or_else(Some)
    }
}

impl Leg for TcpStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + ?Sized> Leg for Box<T> {
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }
}
