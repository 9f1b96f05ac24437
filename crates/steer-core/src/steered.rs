//! A connection that a method brought to the engine.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::{ClientAddr, Destination, Protocol};
use crate::datagram::Datagrams;
use crate::method::Method;
use crate::netns::MakeSockets;
use crate::policy::App;

/// A connection that a method brought to the engine.
///
/// Behind this type no code knows which method delivered it: `via` is for the record.
#[derive(Debug)]
pub struct Steered {
    /// The bytes.
    pub flow: Flow,
    /// Where it came from.
    pub client: ClientAddr,
    /// Where the program wanted to go.
    pub destination: Destination,
    /// Who asked.
    pub identity: Identity,
    /// The method, for the record.
    pub via: Method,
    /// The upstream that the listener prescribes, whatever the rules say.
    pub upstream: Option<String>,
    /// What is spoken, where the listener prescribes it; else it is found out.
    pub app: Option<App>,
    /// What makes sockets where the program is, where that is not where the engine is and the dial
    /// has to be made from there: to the destination, to resolvers and to proxies. Names are looked
    /// up by the engine's own resolver all the same.
    ///
    /// One value (clones of one `Arc`) a network namespace: by it the engine tells its own dials
    /// there from connections with the same addresses elsewhere.
    pub inside: Option<Arc<dyn MakeSockets>>,
    /// How the result of the dial is told to the program.
    pub answer: Box<dyn Answer>,
}

/// The bytes of a steered connection.
#[non_exhaustive]
pub enum Flow {
    /// A TCP connection of the kernel; the relay may splice it.
    Tcp(TcpStream),
    /// Bytes that pass through code of ours.
    Stream(Box<dyn Stream>),
    /// Datagrams.
    Udp(Box<dyn Datagrams>),
    /// A TCP connection that is not there yet: [`Answer::connected`] puts it in the place of this.
    Unmade,
}

impl Flow {
    /// The transport that the program uses.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Tcp(_) | Self::Stream(_) | Self::Unmade => Protocol::Tcp,
            Self::Udp(_) => Protocol::Udp,
        }
    }
}

/// A bidirectional byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => f.debug_tuple("Tcp").field(stream).finish(),
            Self::Stream(_) => f.write_str("Stream(…)"),
            Self::Udp(datagrams) => f.debug_tuple("Udp").field(datagrams).finish(),
            Self::Unmade => f.write_str("Unmade"),
        }
    }
}

/// Who opened a connection; `None` where the method cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process.
    pub pid: Option<u32>,
    /// The user id of the socket.
    pub uid: Option<u32>,
    /// The group id of the process.
    pub gid: Option<u32>,
    /// The program file.
    pub exe: Option<PathBuf>,
    /// The name of the process (`/proc/PID/comm`, 15 bytes at most).
    pub command: Option<String>,
    /// Its cgroup below the root of the unified hierarchy.
    pub cgroup: Option<String>,
    /// The container that the cgroup is of, by its id.
    pub container: Option<String>,
}

/// Tells the program how the dial ended, in the method's own terms.
#[async_trait]
pub trait Answer: fmt::Debug + Send {
    /// Whether the client waits for the answer before it sends anything.
    ///
    /// Its first bytes are then not looked for before it has one.
    fn is_awaited(&self) -> bool {
        true
    }

    /// The engine has decided and begins to dial: a client that does not wait in its call can go on,
    /// and [`Answer::hand_over`] no longer comes.
    ///
    /// Where rules need the first bytes, [`Answer::connected`] comes without it.
    ///
    /// # Errors
    /// The client cannot be connected, whatever the dial brings, and has been told so.
    fn dialling(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What ends when the client is gone while it waits, so that dialling on is for nothing; none
    /// where the method cannot tell.
    ///
    /// Asked for when the dial begins, and dropped with it.
    fn gone(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        None
    }

    /// The upstream is connected: whatever the client waits for is sent, and bytes may follow.
    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()>;

    /// Whether the program can be given a connection of its own, past the engine: where nothing
    /// has to be seen or changed, no byte has to be relayed.
    fn can_hand_over(&self) -> bool {
        false
    }

    /// Gives the program a connection of its own to the first of these addresses that takes it,
    /// and tells it how that ended, in the place of [`Answer::connected`] and [`Answer::failed`].
    /// The result is for the record.
    ///
    /// Called where [`Answer::can_hand_over`], with at least one address.
    ///
    /// # Errors
    /// How the program's connect failed.
    async fn hand_over(self: Box<Self>, to: &[SocketAddr]) -> io::Result<()> {
        let _ = to;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// There is no upstream: the client is told, never with a clean end of stream.
    async fn failed(self: Box<Self>, flow: Flow, why: Refusal);
}

/// Why a connection was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The destination refused.
    Refused,
    /// The destination reset.
    Reset,
    /// No answer in time.
    TimedOut,
    /// No route to the host.
    HostUnreachable,
    /// No route to its network.
    NetworkUnreachable,
    /// The name has no address.
    NoSuchHost,
    /// A rule rejects it, or this host's routes or packet filter forbid it.
    Denied,
    /// It would come back to the engine.
    Loop,
    /// The upstream proxy would not.
    Upstream,
    /// The engine is at a limit.
    Busy,
    /// A datagram is larger than the way carries; smaller ones still arrive.
    TooLarge,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What a failed dial means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable => Self::HostUnreachable,
            io::ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            // EACCES of a route that prohibits, EPERM of a packet filter.
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => Self::TooLarge,
            _ => Self::Other,
        }
    }

    /// What a program's own connect says of it, for methods that answer the call itself.
    ///
    /// ```
    /// use nix::errno::Errno;
    /// use steer_core::steered::Refusal;
    ///
    /// assert_eq!(Refusal::TimedOut.errno(), Errno::ETIMEDOUT);
    /// ```
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Reset => Errno::ECONNRESET,
            Self::TimedOut => Errno::ETIMEDOUT,
            Self::HostUnreachable | Self::NoSuchHost => Errno::EHOSTUNREACH,
            Self::NetworkUnreachable => Errno::ENETUNREACH,
            Self::Denied => Errno::EACCES,
            Self::TooLarge => Errno::EMSGSIZE,
            // Of the rest connect(2) has no word that programs expect.
            Self::Refused | Self::Loop | Self::Upstream | Self::Busy | Self::Other => {
                Errno::ECONNREFUSED
            }
        }
    }
}

/// The answer of every transparent method that has no other: the client is connected already, so
/// success needs no word and failure is a reset, or what UDP has for it.
#[derive(Debug, Default)]
pub struct ResetAnswer;

#[async_trait]
impl Answer for ResetAnswer {
    fn is_awaited(&self) -> bool {
        false
    }

    async fn connected(&mut self, _flow: &mut Flow) -> io::Result<()> {
        Ok(())
    }

    async fn failed(self: Box<Self>, flow: Flow, why: Refusal) {
        match flow {
            Flow::Tcp(stream) => abort(stream),
            Flow::Stream(stream) => drop(stream),
            Flow::Udp(mut datagrams) => datagrams.refuse(why),
            Flow::Unmade => {}
        }
    }
}

/// Closes a connection with a reset.
pub fn abort(stream: TcpStream) {
    if let Err(error) = reset_on_close(&stream) {
        tracing::debug!(%error, "a connection could not be set to reset");
    }
    drop(stream);
}

/// Makes every close of the socket a reset, also the kernel's own when the process is killed.
///
/// Set on each accepted steered socket: a killed engine then resets its clients instead of
/// sending FIN and letting their next bytes go in clear.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_told_what_the_dial_was_told() {
        for errno in [
            Errno::ECONNREFUSED,
            Errno::ECONNRESET,
            Errno::ETIMEDOUT,
            Errno::EHOSTUNREACH,
            Errno::ENETUNREACH,
            Errno::EACCES,
            Errno::EMSGSIZE,
        ] {
            assert_eq!(Refusal::of(&errno.into()).errno(), errno);
        }
    }

    #[test]
    fn what_connect_has_no_word_for_is_refused() {
        for why in [
            Refusal::Loop,
            Refusal::Upstream,
            Refusal::Busy,
            Refusal::Other,
        ] {
            assert_eq!(why.errno(), Errno::ECONNREFUSED, "{why:?}");
        }
        assert_eq!(Refusal::NoSuchHost.errno(), Errno::EHOSTUNREACH);
    }
}
