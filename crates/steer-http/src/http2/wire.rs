//! The bytes of a server, of which the first tell whether it speaks HTTP/2.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gateway::Stream;

/// What a server's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// There are none yet.
    Silent,
    /// A frame of settings, which every server of HTTP/2 begins with (RFC 9113, 3.4).
    Http2,
    /// Something else.
    Other,
}

/// A server's first bytes, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Heard(AtomicU8);

impl Heard {
    /// What they are.
    pub(super) fn speech(&self) -> Speech {
        match self.0.load(Ordering::Acquire) {
            HTTP2 => Speech::Http2,
            OTHER => Speech::Other,
            _ => Speech::Silent,
        }
    }
}

/// A server's stream that is listened to until its first frame's type has come.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    heard: Arc<Heard>,
    /// How many of the first bytes have come.
    came: usize,
}

/// The place of the type in a frame's header.
const TYPE: usize = 3;
/// The type of a frame of settings.
const SETTINGS: u8 = 4;
const HTTP2: u8 = 1;
const OTHER: u8 = 2;

impl Wire {
    /// Listens to a stream.
    pub(super) fn new(stream: Box<dyn Stream>) -> (Self, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let wire = Self {
            stream,
            heard: heard.clone(),
            came: 0,
        };
        (wire, heard)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut *self.stream).poll_read(cx, into);
        if self.came <= TYPE && read.is_ready() {
            let bytes = &into.filled()[before..];
            if let Some(kind) = bytes.get(TYPE - self.came) {
                let speech = if *kind == SETTINGS { HTTP2 } else { OTHER };
                self.heard.0.store(speech, Ordering::Release);
            }
            self.came += bytes.len();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
