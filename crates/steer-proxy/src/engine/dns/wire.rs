//! Messages of a client: datagrams, or framed in a stream (RFC 1035, section 4.2.2).
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use steer_core::datagram::Batch;
use steer_core::steered::{Flow, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::opening::ANSWER;
use super::super::udp::room;

/// Cuts a client's flow into messages.
#[derive(Debug, Default)]
pub(super) struct Wire {
    datagrams: VecDeque<Vec<u8>>,
    frames: Frames,
}

impl Wire {
    /// The next message; none where the client says no more. Cancel safe.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn next(&mut self, flow: &mut Flow) -> io::Result<Option<Vec<u8>>> {
        let Self { datagrams, frames } = self;
        match flow {
            Flow::Udp(flow) => {
                poll_fn(|cx| {
                    while datagrams.is_empty() {
                        ready!(room::with(|batch, _| {
                            ready!(flow.poll_receive(cx, batch))?;
                            let queries = batch.iter().filter(|it| it.len() <= LONGEST_QUERY);
                            datagrams.extend(queries.take(WAITING).map(<[u8]>::to_vec));
                            Poll::Ready(Ok::<_, io::Error>(()))
                        }))?;
                    }
                    Poll::Ready(Ok(datagrams.pop_front()))
                })
                .await
            }
            Flow::Tcp(stream) => frames.next(stream).await,
            Flow::Stream(stream) => frames.next(stream).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends a message to the client.
    ///
    /// # Errors
    /// The client is gone, or takes nothing.
    pub(super) async fn send(&mut self, flow: &mut Flow, message: &[u8]) -> io::Result<()> {
        match flow {
            Flow::Udp(flow) => {
                let mut batch = Batch::default();
                batch.push(message);
                flow.send(&batch)
            }
            Flow::Tcp(stream) => write(stream, message).await,
            Flow::Stream(stream) => write(stream, message).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The longest datagram that can be a query: what goes beyond it in practice goes by TCP. With the
/// next, it bounds what a conversation holds.
const LONGEST_QUERY: usize = 4096;

/// Datagrams that wait for their turn.
const WAITING: usize = 16;

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What has come and is not whole.
    bytes: Vec<u8>,
}

impl Frames {
    /// Frames whose first bytes were read already.
    pub(super) const fn starting_with(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The next message; none where the stream ends behind one. Cancel safe.
    ///
    /// # Errors
    /// The stream breaks, or ends within a message.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl Stream + ?Sized),
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let [high, low, rest @ ..] = self.bytes.as_slice() {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if let Some(message) = rest.get(..length) {
                    let message = message.to_vec();
                    self.bytes.drain(..2 + length);
                    return Ok(Some(message));
                }
            }
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return if self.bytes.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// Writes a message with its length.
///
/// # Errors
/// The stream breaks, or takes nothing for a while.
pub(super) async fn write(stream: &mut (impl Stream + ?Sized), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // In one piece: some resolvers take the length alone for the whole.
    let framed = [&length.to_be_bytes(), message].concat();
    let written = async {
        stream.write_all(&framed).await?;
        stream.flush().await
    };
    timeout(ANSWER, written)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
