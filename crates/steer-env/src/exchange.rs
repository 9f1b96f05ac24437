//! One request in absolute form and its answer, as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::farewell::end_in_order;
use crate::framing::{Body, Framing};

/// A client's connection that carries one request.
///
/// Reading gives the rewritten head and the body up to its end. Bytes behind it (a pipelined
/// request, whose origin may be another one) are thrown away, and the end of the stream is that
/// of the client's: an origin that saw it after each request would take it for a client that
/// left.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: TcpStream,
    head: Vec<u8>,
    told: usize,
    body: Body,
    malformed: bool,
    ignored: usize,
    parting: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

impl Exchange {
    /// A connection whose head was read and rewritten.
    pub(crate) const fn new(stream: TcpStream, head: Vec<u8>, framing: Framing) -> Self {
        Self {
            stream,
            head,
            told: 0,
            body: Body::new(framing),
            malformed: false,
            ignored: 0,
            parting: None,
            reader: None,
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the client ended within the body of its request",
            )));
        }
        let (used, result) = self.body.advance(&buf.filled()[before..]);
        buf.set_filled(before + used);
        self.ignored += read - used;
        self.malformed = result.is_err();
        if self.malformed && used == 0 {
            return self.poll_malformed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_malformed(&self) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::InvalidData,
            crate::framing::Malformed,
        )))
    }

    /// Waits for the client's end, or for a while after the answer's end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(parting) = &mut self.parting
            && parting.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        while self.ignored < MOST_IGNORED {
            let mut bytes = [0; 1024];
            let mut scratch = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(())) if scratch.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.ignored += scratch.filled().len(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Exchange {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.told < this.head.len() {
            let step = buf.remaining().min(this.head.len() - this.told);
            buf.put_slice(&this.head[this.told..this.told + step]);
            this.told += step;
            if this.told == this.head.len() {
                this.head = Vec::new();
                this.told = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if this.malformed {
            this.poll_malformed()
        } else if this.body.is_done() {
            this.poll_end(cx)
        } else {
            this.poll_body(cx, buf)
        }
    }
}

impl AsyncWrite for Exchange {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parting.is_none() {
            end_in_order(&self.stream)?;
            self.parting = Some(Box::pin(tokio::time::sleep(PARTING)));
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many bytes behind a request are read, so that closing does not reset the answer away.
const MOST_IGNORED: usize = 64 * 1024;

/// How long a client has to close after it was sent the end of its answer.
const PARTING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// An exchange and its client's end, whose accepted side resets on close as in production.
    async fn pair(framing: Framing) -> (Exchange, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.unwrap();
        steer_core::steered::reset_on_close(&stream).unwrap();
        let head = b"HEAD".to_vec();
        (Exchange::new(stream, head, framing), client.unwrap())
    }

    async fn read(exchange: &mut Exchange, length: usize) -> String {
        let mut bytes = vec![0; length];
        exchange.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_pipelined_request_never_follows_the_first_one() {
        let (mut exchange, mut client) = pair(Framing::Length(4)).await;
        client.write_all(b"bodyGET http://other/").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        exchange.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"HEADbody");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_for_its_answer_has_no_end() {
        let (mut exchange, mut client) = pair(Framing::Empty).await;
        client.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut exchange, 4).await, "HEAD");
        let mut byte = [0];
        let more = exchange.read(&mut byte);
        assert!(
            tokio::time::timeout(Duration::from_secs(60), more)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn the_whole_answer_arrives_although_bytes_were_ignored() {
        let (mut exchange, mut client) = pair(Framing::Empty).await;
        client.write_all(b"ignored").await.unwrap();
        assert_eq!(read(&mut exchange, 4).await, "HEAD");
        let answer = vec![b'a'; 300_000];
        let serve = async {
            exchange.write_all(&answer).await.unwrap();
            exchange.shutdown().await.unwrap();
            let mut rest = Vec::new();
            exchange.read_to_end(&mut rest).await.unwrap();
            drop(exchange);
            rest
        };
        let mut got = Vec::new();
        let (rest, read) = tokio::join!(serve, async {
            let read = client.read_to_end(&mut got).await;
            drop(client);
            read
        });
        assert_eq!(read.unwrap(), answer.len());
        assert!(rest.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_arrives_although_the_client_reads_it_after_the_end() {
        let (mut exchange, mut client) = pair(Framing::Empty).await;
        let full = |exchange: &mut Exchange, cx: &mut Context<'_>| {
            let mut written = 0;
            while let Poll::Ready(step) = Pin::new(&mut *exchange).poll_write(cx, &[b'a'; 4096]) {
                written += step.unwrap();
            }
            Poll::Ready(written)
        };
        let written = std::future::poll_fn(|cx| full(&mut exchange, cx)).await;
        exchange.shutdown().await.unwrap();
        let mut ignored = Vec::new();
        exchange.read_to_end(&mut ignored).await.unwrap();
        drop(exchange);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), written);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_after_its_answer_is_left() {
        let (mut exchange, _client) = pair(Framing::Empty).await;
        exchange.shutdown().await.unwrap();
        let mut all = Vec::new();
        exchange.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"HEAD");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_malformed_is_an_error() {
        let (mut exchange, mut client) = pair(Framing::Length(9)).await;
        client.write_all(b"body").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        let error = exchange.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

        let (mut exchange, mut client) = pair(Framing::Chunked).await;
        client.write_all(b"1\r\na\r\nx").await.unwrap();
        let mut all = Vec::new();
        let error = exchange.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(all, b"HEAD1\r\na\r\n");
    }

    #[tokio::test]
    async fn an_exchange_that_is_dropped_resets_its_client() {
        let (exchange, mut client) = pair(Framing::Empty).await;
        drop(exchange);
        let error = client.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
