//! The server's side of SOCKS5 (RFC 1928) with user name and password (RFC 1929).

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use steer_core::address::Destination;
use steer_core::steered::{Answer, Flow, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::farewell::farewell;
use crate::handshake::End;
use crate::login::Login;

/// What a client asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A connection.
    Connect(Destination),
    /// A UDP port, to which it will send from the port that it named.
    Associate(Option<Claim>),
}

/// From where a client says that it will send datagrams.
pub(crate) type Claim = SocketAddr;

/// Reads a request, exactly up to its end.
///
/// # Errors
/// [`End::Words`] with the reply that refuses it.
pub(crate) async fn request<S>(stream: &mut S, login: Option<&Login>) -> Result<Request, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    negotiate(stream, login).await?;
    let [version, command, _reserved, kind] = exactly(stream).await?;
    if version != VERSION {
        return Err(End::Silent("not SOCKS5 after a SOCKS5 greeting"));
    }
    let host = match kind {
        1 => Host::Ip(IpAddr::from(exactly::<4, _>(stream).await?)),
        4 => Host::Ip(IpAddr::from(exactly::<16, _>(stream).await?)),
        3 => Host::Name(counted(stream).await?),
        _ => return Err(End::Words(reply(Code::AddressKind))),
    };
    let port = u16::from_be_bytes(exactly(stream).await?);
    match (command, host) {
        // A name tells no port of ours who sends.
        (ASSOCIATE, Host::Name(_)) => Ok(Request::Associate(None)),
        (ASSOCIATE, Host::Ip(ip)) => {
            let claim = SocketAddr::new(ip, port);
            Ok(Request::Associate((port > 0).then_some(claim)))
        }
        (CONNECT, _) if port == 0 => Err(End::Words(reply(Code::Failure))),
        (CONNECT, Host::Ip(ip)) => {
            let address = SocketAddr::new(ip, port);
            Ok(Request::Connect(Destination::addr(address)))
        }
        (CONNECT, Host::Name(bytes)) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|name| Destination::parse_host(name, port).ok())
            .map(Request::Connect)
            .ok_or_else(|| End::Words(reply(Code::Failure))),
        _ => Err(not_supported()),
    }
}

/// The end of a client that asked for what is not served.
pub(crate) fn not_supported() -> End {
    End::Words(reply(Code::Command))
}

/// The end of a client for which there was no room.
pub(crate) fn failure() -> End {
    End::Words(reply(Code::Failure))
}

/// The reply that tells a client where to send its datagrams to.
pub(crate) fn associated(at: SocketAddr) -> Vec<u8> {
    let mut words = vec![VERSION, Code::Succeeded as u8, 0];
    match at.ip() {
        IpAddr::V4(ip) => {
            words.push(1);
            words.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            words.push(4);
            words.extend(ip.octets());
        }
    }
    words.extend(at.port().to_be_bytes());
    words
}

/// Tells how the dial ended by a reply code.
#[derive(Debug)]
pub(crate) struct SocksAnswer;

#[async_trait]
impl Answer for SocksAnswer {
    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        let words = reply(Code::Succeeded);
        match flow {
            Flow::Tcp(stream) => stream.write_all(&words).await,
            Flow::Stream(stream) => stream.write_all(&words).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    async fn failed(self: Box<Self>, flow: Flow, why: Refusal) {
        farewell(flow, &reply(Code::of(why))).await;
    }
}

enum Host {
    Ip(IpAddr),
    Name(Vec<u8>),
}

/// Reply codes of RFC 1928, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Succeeded = 0x00,
    Failure = 0x01,
    NotAllowed = 0x02,
    NetworkUnreachable = 0x03,
    HostUnreachable = 0x04,
    Refused = 0x05,
    Command = 0x07,
    AddressKind = 0x08,
}

impl Code {
    /// The code that comes nearest.
    ///
    /// "TTL expired" (6) would be wrong for a timeout, whose cause is not known: to the client
    /// the host cannot be reached, and nor can one whose name has no address.
    const fn of(why: Refusal) -> Self {
        match why {
            Refusal::Refused => Self::Refused,
            Refusal::TimedOut | Refusal::HostUnreachable | Refusal::NoSuchHost => {
                Self::HostUnreachable
            }
            Refusal::NetworkUnreachable => Self::NetworkUnreachable,
            Refusal::Denied | Refusal::Loop => Self::NotAllowed,
            _ => Self::Failure,
        }
    }
}

/// The reply to whoever the port does not serve: not allowed.
pub(crate) const NOT_SERVED: [u8; 10] = [VERSION, Code::NotAllowed as u8, 0, 1, 0, 0, 0, 0, 0, 0];

/// A reply; the bound address, which clients of CONNECT have no use for, is left unspecified.
fn reply(code: Code) -> Vec<u8> {
    vec![VERSION, code as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}

async fn negotiate<S>(stream: &mut S, login: Option<&Login>) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [version] = exactly(stream).await?;
    if version != VERSION {
        return Err(End::Silent("not SOCKS5"));
    }
    let methods = counted(stream).await?;
    let offered = |method| methods.contains(&method);
    let method = match login {
        None if offered(NO_LOGIN) => NO_LOGIN,
        // Where no login is wanted, one that is given does no harm.
        _ if offered(PASSWORD) => PASSWORD,
        _ => return Err(End::Words(vec![VERSION, NO_METHOD])),
    };
    stream.write_all(&[VERSION, method]).await?;
    if method == PASSWORD {
        let [version] = exactly(stream).await?;
        if version != LOGIN_VERSION {
            return Err(End::Words(vec![LOGIN_VERSION, LOGIN_WRONG]));
        }
        let username = counted(stream).await?;
        let password = counted(stream).await?;
        if login.is_some_and(|login| !login.admits(&username, &password)) {
            return Err(End::Words(vec![LOGIN_VERSION, LOGIN_WRONG]));
        }
        stream.write_all(&[LOGIN_VERSION, LOGIN_RIGHT]).await?;
    }
    Ok(())
}

async fn exactly<const N: usize, S>(stream: &mut S) -> io::Result<[u8; N]>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// As many bytes as the one before them says.
async fn counted<S>(stream: &mut S) -> io::Result<Vec<u8>>
where
    S: AsyncRead + Unpin,
{
    let [count] = exactly(stream).await?;
    let mut bytes = vec![0; usize::from(count)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const ASSOCIATE: u8 = 3;
const LOGIN_VERSION: u8 = 1;
const LOGIN_RIGHT: u8 = 0;
const LOGIN_WRONG: u8 = 1;

#[cfg(test)]
mod tests;
