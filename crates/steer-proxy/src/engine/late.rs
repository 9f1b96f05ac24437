//! Clients that said nothing while the rules waited for their first bytes.
//!
//! They may wait for a server that speaks first, or have connected ahead of need. So the way that
//! silence leads is opened, and whoever speaks first settles it: after the server the bytes pass,
//! after the client the rules are asked again, and what was dialled serves where they say the same.
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use steer_core::address::ClientAddr;
use steer_core::steered::Flow;
use tokio::io::{AsyncRead, ReadBuf};

use super::entry::Entry;
use super::opening::choice::{Choice, Decided};
use super::opening::{Failure, Onward, Opened, Opening};

/// Who spoke first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Client,
    Server,
}

/// Settles where a client goes that was silent when the way of silence was chosen and opened.
pub(super) async fn settle(
    entry: &mut Entry,
    opening: &mut Opening,
    mut opened: Opened,
    way: Decided,
    client: ClientAddr,
    prescribed: Option<&str>,
) -> Result<Onward, Failure> {
    let known = opening.prefix.len();
    if first(&mut opening.flow, &mut opening.prefix, &mut opened).await == First::Server {
        return Ok(Onward::Relayed(opened));
    }
    entry.sniffer.push(&opening.prefix[known..]);
    match opening.consider(entry, client, prescribed).await? {
        Choice::Way(decided) if decided == way => Ok(Onward::Relayed(opened)),
        Choice::Way((route, only)) => {
            drop(opened);
            opening.reach(entry, client, route, only).await
        }
        Choice::Inside(inside) => Ok(Onward::Inside(inside)),
    }
}

/// Waits for the first byte of either side; an end is the end of whoever ends, and leaves the
/// bytes to pass as they come.
async fn first(flow: &mut Flow, said: &mut Vec<u8>, opened: &mut Opened) -> First {
    if !opened.prefix.is_empty() {
        return First::Server;
    }
    let mut room = [0_u8; ROOM];
    poll_fn(|cx| {
        let mut read = |from: Pin<&mut (dyn AsyncRead + Unpin + Send)>, into: &mut Vec<u8>| {
            let mut buf = ReadBuf::new(&mut room);
            let read: Poll<io::Result<()>> = from.poll_read(cx, &mut buf);
            read.map(|read| {
                into.extend_from_slice(buf.filled());
                read.is_ok() && !buf.filled().is_empty()
            })
        };
        let from: Pin<&mut (dyn AsyncRead + Unpin + Send)> = match flow {
            Flow::Tcp(stream) => Pin::new(stream),
            Flow::Stream(stream) => Pin::new(stream),
            _ => return Poll::Ready(First::Server),
        };
        match read(from, said) {
            Poll::Ready(true) => return Poll::Ready(First::Client),
            Poll::Ready(false) => return Poll::Ready(First::Server),
            Poll::Pending => {}
        }
        let server = Pin::new(&mut opened.dialled.stream);
        read(server, &mut opened.prefix).map(|_| First::Server)
    })
    .await
}

/// Room for a first read.
const ROOM: usize = 2048;
