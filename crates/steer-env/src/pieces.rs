//! A client of tests: bytes that arrive in pieces, and then its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::head::Peek;

/// A connection whose client has sent all that it ever will.
///
/// No read goes beyond the next cut, so that each place is where the bytes of a read end.
#[derive(Debug)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
    at: usize,
    told: Vec<u8>,
}

impl Pieces {
    /// Cut at these places, which are in order.
    pub(crate) fn new(bytes: &[u8], cuts: &[usize]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            cuts: cuts.to_vec(),
            at: 0,
            told: Vec::new(),
        }
    }

    /// The bytes up to the next cut, none of which is taken.
    pub(crate) fn next(&self) -> &[u8] {
        let later = |cut: &&usize| **cut > self.at;
        let end = self.cuts.iter().find(later).copied();
        let end = end.unwrap_or(self.bytes.len()).min(self.bytes.len());
        &self.bytes[self.at..end]
    }

    /// Takes bytes.
    pub(crate) fn take(&mut self, count: usize) {
        self.at += count;
    }

    /// What nobody took.
    pub(crate) fn rest(&self) -> Vec<u8> {
        self.bytes[self.at..].to_vec()
    }

    /// What the client was told.
    pub(crate) fn told(&self) -> &[u8] {
        &self.told
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.next().len().min(buf.remaining());
        buf.put_slice(&self.next()[..count]);
        self.take(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.told.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Peek for Pieces {
    async fn peek(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let next = self.next();
        let count = next.len().min(bytes.len());
        bytes[..count].copy_from_slice(&next[..count]);
        Ok(count)
    }
}

/// The result of a future that waits for nothing but [`Pieces`], which never let it wait.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the bytes are all there"),
    }
}
