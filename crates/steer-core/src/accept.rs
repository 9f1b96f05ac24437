//! Accepting from several listeners, fairly and for as long as the process lives.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::address::ClientAddr;

/// Accepts connections of several listeners, each in turn.
///
/// No error ends it: a connection that died in the queue is passed over, and where the process is
/// out of descriptors or memory it waits and tries again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use steer_core::accept::Acceptor;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let mut acceptor = Acceptor::new(vec![listener])?;
/// let client = std::net::TcpStream::connect(address)?;
/// let accepted = acceptor.accept().await;
/// assert_eq!(accepted.client.0, client.local_addr()?);
/// assert_eq!(accepted.local, address);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Acceptor {
    listeners: Vec<TcpListener>,
    turn: usize,
    resume: Option<Instant>,
    pause: Duration,
    warned: Option<Instant>,
}

/// A connection with both of its addresses.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// Where it came from.
    pub client: ClientAddr,
    /// The address here that it arrived at.
    pub local: SocketAddr,
}

/// What an error of accept(2) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// One connection; the next may be fine.
    Connection,
    /// The process or the listener; trying again at once would spin.
    Here,
}

impl Acceptor {
    /// Takes over listening sockets; call it within a runtime.
    pub fn new(sockets: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let listeners = sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            listeners,
            turn: 0,
            resume: None,
            pause: PAUSE_FIRST,
            warned: None,
        })
    }

    /// The next connection. Cancel safe: none is lost when the future is dropped.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            // Kept in self, so that a cancelled call does not shorten the pause.
            if let Some(at) = self.resume {
                tokio::time::sleep_until(at).await;
                self.resume = None;
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Ok(accepted) => {
                    self.pause = PAUSE_FIRST;
                    return accepted;
                }
                Err(error) => match blame(&error) {
                    Blame::Connection => {
                        tracing::debug!(%error, "a connection was lost before it was accepted");
                    }
                    Blame::Here => self.back_off(&error),
                },
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.listeners.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if let Poll::Ready(result) = self.listeners[index].poll_accept(cx) {
                self.turn = (index + 1) % count;
                return Poll::Ready(result.and_then(|(stream, client)| {
                    Ok(Accepted {
                        local: stream.local_addr()?,
                        client: ClientAddr(client),
                        stream,
                    })
                }));
            }
        }
        Poll::Pending
    }

    fn back_off(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.warned.is_none_or(|last| now - last >= WARN_EVERY) {
            self.warned = Some(now);
            tracing::warn!(
                %error,
                help = "raise the limit of open files (ulimit -n)",
                "connections wait: none can be accepted"
            );
        }
        self.resume = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
    }
}

/// Linux hands errors that are pending on the accepted socket to accept(2); its manual page lists
/// them.
fn blame(error: &io::Error) -> Blame {
    use nix::errno::Errno;
    match error.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPERM
            | Errno::ENETDOWN
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EHOSTUNREACH
            | Errno::EOPNOTSUPP
            | Errno::ENETUNREACH
            | Errno::ETIMEDOUT,
        ) => Blame::Connection,
        _ => Blame::Here,
    }
}

/// The first pause; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(5);

/// The longest pause.
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// How often a lack of descriptors is worth a line.
const WARN_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    fn listener() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_busy_listener_does_not_starve_another() {
        let (a, address_a) = listener();
        let (b, address_b) = listener();
        let mut acceptor = Acceptor::new(vec![a, b]).unwrap();
        let _busy: Vec<_> = (0..8)
            .map(|_| std::net::TcpStream::connect(address_a).unwrap())
            .collect();
        let _other = std::net::TcpStream::connect(address_b).unwrap();
        let mut first = Vec::new();
        for _ in 0..9 {
            first.push(acceptor.accept().await.local);
        }
        assert_eq!(first.iter().filter(|a| **a == address_b).count(), 1);
        assert!(first[..2].contains(&address_b), "{first:?}");
    }

    #[tokio::test]
    async fn a_cancelled_accept_loses_no_connection() {
        let (socket, address) = listener();
        let mut acceptor = Acceptor::new(vec![socket]).unwrap();
        for _ in 0..16 {
            let client = std::net::TcpStream::connect(address).unwrap();
            let accepted = loop {
                tokio::select! {
                    biased;
                    () = tokio::task::yield_now() => {}
                    accepted = acceptor.accept() => break accepted,
                }
            };
            assert_eq!(accepted.client.0, client.local_addr().unwrap());
        }
    }

    #[test]
    fn only_errors_of_one_connection_are_passed_over_without_a_pause() {
        for (errno, expected) in [
            (Errno::ECONNABORTED, Blame::Connection),
            (Errno::EPROTO, Blame::Connection),
            (Errno::EMFILE, Blame::Here),
            (Errno::ENFILE, Blame::Here),
            (Errno::ENOMEM, Blame::Here),
            (Errno::EINVAL, Blame::Here),
        ] {
            assert_eq!(blame(&errno.into()), expected, "{errno}");
        }
    }
}
