//! Ending a connection so that the client reads what it was told.

use std::io;
use std::time::Duration;

use steer_core::steered::{Flow, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends last words, says that nothing follows, and waits a little for the client to be done.
///
/// Closing at once would not do: a socket that is closed with unread bytes sends a reset, and a
/// reset makes the client's kernel throw away what it has not read yet.
pub(crate) async fn farewell(flow: Flow, words: &[u8]) {
    let end = async {
        match flow {
            Flow::Tcp(mut stream) => {
                end_in_order(&stream)?;
                say(&mut stream, words).await
            }
            Flow::Stream(mut stream) => say(&mut stream, words).await,
            _ => Ok(()),
        }
    };
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, end).await {
        tracing::debug!(%error, "a client left before it was answered");
    }
}

/// Takes back the reset on close that accepted sockets inherit from their listener.
pub(crate) fn end_in_order(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(None)
}

async fn say(stream: &mut impl Stream, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut ignored = vec![0; 4096];
    let mut left = IGNORED;
    while left > 0 {
        match stream.read(&mut ignored).await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

/// How long the client has to read and close.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes of the client are read and thrown away.
const IGNORED: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_words_arrive_although_the_client_reads_them_after_the_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        steer_core::steered::reset_on_close(&stream).unwrap();
        let words = vec![b'w'; 1 << 20];
        // More than the client's kernel takes: the rest is unsent when the socket is closed.
        socket2::SockRef::from(&stream)
            .set_send_buffer_size(4 * words.len())
            .unwrap();
        farewell(Flow::Tcp(stream), &words).await;
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), words.len());
    }
}
