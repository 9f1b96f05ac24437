//! Connections to servers, and those that wait for the next request of their way.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf, split};

use crate::gateway::{Connected, Stream};

use super::buffer::Buffer;

/// A connection to a server.
pub(super) struct Upstream {
    pub(super) reading: ReadHalf<Box<dyn Stream>>,
    pub(super) writing: WriteHalf<Box<dyn Stream>>,
    /// What came of it and was not passed on.
    pub(super) inbox: Buffer,
    /// Whether targets are written in absolute form.
    pub(super) absolute: bool,
    /// Whether it has carried an exchange.
    pub(super) used: bool,
}

impl Upstream {
    pub(super) fn new(connected: Connected) -> Self {
        let (reading, writing) = split(connected.stream);
        Self {
            reading,
            writing,
            inbox: Buffer::default(),
            absolute: connected.absolute,
            used: false,
        }
    }

    /// Whether the server neither ended it nor said anything unasked.
    async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let reading = &mut self.reading;
        poll_fn(|cx| {
            Poll::Ready(
                Pin::new(&mut *reading)
                    .poll_read(cx, &mut byte)
                    .is_pending(),
            )
        })
        .await
    }

    /// Ends it in order, as far as that goes without waiting.
    pub(super) async fn retire(mut self) {
        let writing = &mut self.writing;
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *writing).poll_shutdown(cx).is_ready())).await;
    }
}

/// Idle connections, one a way.
pub(super) struct Pool<W> {
    idle: Vec<(W, Upstream)>,
}

impl<W: Eq> Pool<W> {
    pub(super) fn new() -> Self {
        Self { idle: Vec::new() }
    }

    /// The idle connection of a way, where it still stands.
    pub(super) async fn take(&mut self, way: &W) -> Option<Upstream> {
        let at = self.idle.iter().position(|(of, _)| of == way)?;
        let (_, mut upstream) = self.idle.swap_remove(at);
        if upstream.is_quiet().await {
            Some(upstream)
        } else {
            upstream.retire().await;
            None
        }
    }

    /// Keeps a connection for the next request of its way; the oldest gives place.
    pub(super) async fn keep(&mut self, way: W, mut upstream: Upstream) {
        upstream.used = true;
        upstream.inbox.rest();
        if self.idle.len() == IDLE {
            self.idle.remove(0).1.retire().await;
        }
        self.idle.push((way, upstream));
    }

    /// Ends all of them in order.
    pub(super) async fn retire(self) {
        for (_, upstream) in self.idle {
            upstream.retire().await;
        }
    }
}

/// So many idle connections has a session at most.
const IDLE: usize = 4;
