//! The client side of SOCKS5 (RFC 1928, RFC 1929).
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use steer_core::address::Destination;
use steer_core::steered::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Login;
use crate::error::UpstreamError;

mod address;
pub(super) mod datagram;

use address::{IPV4, IPV6, NAME};

/// Why a SOCKS5 proxy did not connect (RFC 1928, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// General failure.
    Failure,
    /// Its rules do not allow it.
    NotAllowed,
    /// Network unreachable.
    NetworkUnreachable,
    /// Host unreachable.
    HostUnreachable,
    /// Connection refused.
    Refused,
    /// Time to live expired, which proxies use for a timeout.
    TtlExpired,
    /// It does not do what it was asked for.
    CommandNotSupported,
    /// It cannot do this kind of address.
    AddressNotSupported,
    /// A code that the RFC does not assign.
    Unassigned(u8),
}

impl Reply {
    fn of(code: u8) -> Self {
        match code {
            1 => Self::Failure,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::Refused,
            6 => Self::TtlExpired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressNotSupported,
            code => Self::Unassigned(code),
        }
    }

    /// What it means to the program that asked.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Failure | Self::NotAllowed | Self::CommandNotSupported => Refusal::Upstream,
            Self::AddressNotSupported | Self::Unassigned(_) => Refusal::Upstream,
            Self::NetworkUnreachable => Refusal::NetworkUnreachable,
            Self::HostUnreachable => Refusal::HostUnreachable,
            Self::Refused => Refusal::Refused,
            Self::TtlExpired => Refusal::TimedOut,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure => f.write_str("general failure"),
            Self::NotAllowed => f.write_str("not allowed by its rules"),
            Self::NetworkUnreachable => f.write_str("network unreachable"),
            Self::HostUnreachable => f.write_str("host unreachable"),
            Self::Refused => f.write_str("connection refused"),
            Self::TtlExpired => f.write_str("time to live expired"),
            Self::CommandNotSupported => f.write_str("the command is not supported"),
            Self::AddressNotSupported => f.write_str("the address type is not supported"),
            Self::Unassigned(code) => write!(f, "unassigned code {code}"),
        }
    }
}

/// Asks the proxy at the other end of `stream` for a connection to `target`.
///
/// Returns the bytes that came behind its answer: they are the destination's first ones.
/// A name is sent as a name, and the proxy resolves it.
pub async fn connect<S>(
    stream: &mut S,
    target: &Destination,
    login: Option<&Login>,
) -> Result<Vec<u8>, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inbox = greet(stream, login).await?;
    inbox.send(&request(CONNECT, target)).await?;
    reply(&mut inbox).await?;
    Ok(inbox.unread)
}

/// Asks the proxy at the other end of `stream` to relay datagrams (RFC 1928, section 7), for as
/// long as the stream stays open.
///
/// Returns where it takes them; an unspecified address means the proxy's own.
pub async fn associate<S>(
    stream: &mut S,
    login: Option<&Login>,
) -> Result<Destination, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inbox = greet(stream, login).await?;
    // The address that the datagrams will come from is not known before the proxy's is.
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let asked = request(ASSOCIATE, &Destination::addr(unknown));
    inbox.send(&asked).await?;
    reply(&mut inbox).await
}

/// Agrees on an authentication, and asks for nothing.
pub(super) async fn greeted<S>(stream: &mut S, login: Option<&Login>) -> Result<(), UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    greet(stream, login).await.map(drop)
}

/// Agrees on an authentication.
async fn greet<'a, S>(
    stream: &'a mut S,
    login: Option<&Login>,
) -> Result<Inbox<'a, S>, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inbox = Inbox {
        stream,
        unread: Vec::new(),
    };
    // Without credentials only "none needed" is offered, so that a proxy that wants some says so.
    let offer: &[u8] = if login.is_some() {
        &[VERSION, 2, NO_AUTH, PASSWORD]
    } else {
        &[VERSION, 1, NO_AUTH]
    };
    inbox.send(offer).await?;
    match inbox.take::<2>().await? {
        [VERSION, NO_AUTH] => {}
        [VERSION, PASSWORD] => authenticate(&mut inbox, login).await?,
        [VERSION, REFUSED] => {
            return Err(UpstreamError::Credentials {
                given: login.is_some(),
            });
        }
        [VERSION, _] => return Err(wrong("it chose an authentication that was not offered")),
        _ => return Err(wrong("its greeting has another version")),
    }
    Ok(inbox)
}

/// Reads the answer to a request: the address that it brings.
async fn reply<S>(inbox: &mut Inbox<'_, S>) -> Result<Destination, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [version, code, _, kind] = inbox.take().await?;
    if version != VERSION {
        return Err(wrong("its reply has another version"));
    }
    if code != 0 {
        // Some proxies send no address with a refusal, so none is waited for.
        return Err(UpstreamError::Socks5(Reply::of(code)));
    }
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => 1 + usize::from(inbox.peek().await?),
        _ => return Err(wrong("its reply has an unknown address type")),
    };
    let bytes = inbox.take_many(length + 2).await?;
    // Nobody needs the name or address of a connection, so one that cannot be read is none.
    let address = address::read(kind, &bytes).map(|(address, _)| address);
    Ok(address.unwrap_or_else(|| Destination::addr((Ipv4Addr::UNSPECIFIED, 0).into())))
}

async fn authenticate<S>(
    inbox: &mut Inbox<'_, S>,
    login: Option<&Login>,
) -> Result<(), UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(Login { username, password }) = login else {
        return Err(wrong("it chose an authentication that was not offered"));
    };
    let mut message = vec![PASSWORD_VERSION];
    for (text, what) in [(username, "user name"), (password, "password")] {
        message.push(u8::try_from(text.len()).map_err(|_| UpstreamError::TooLong(what))?);
        message.extend_from_slice(text.as_bytes());
    }
    inbox.send(&message).await?;
    match inbox.take::<2>().await? {
        [_, 0] => Ok(()),
        [_, _] => Err(UpstreamError::Credentials { given: true }),
    }
}

fn request(command: u8, target: &Destination) -> Vec<u8> {
    let mut message = vec![VERSION, command, 0];
    address::write(target, &mut message);
    message
}

const VERSION: u8 = 5;
const PASSWORD_VERSION: u8 = 1;
const NO_AUTH: u8 = 0;
const PASSWORD: u8 = 2;
const REFUSED: u8 = 0xff;
const CONNECT: u8 = 1;
const ASSOCIATE: u8 = 3;

fn wrong(what: &'static str) -> UpstreamError {
    UpstreamError::Protocol {
        protocol: "SOCKS5",
        what,
    }
}

/// A stream with what was read from it beyond the last message.
struct Inbox<'a, S> {
    stream: &'a mut S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inbox<'_, S> {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), UpstreamError> {
        self.stream
            .write_all(bytes)
            .await
            .map_err(UpstreamError::Broken)?;
        self.stream.flush().await.map_err(UpstreamError::Broken)
    }

    async fn take<const N: usize>(&mut self) -> Result<[u8; N], UpstreamError> {
        self.fill(N).await?;
        let bytes = self.unread.drain(..N).collect::<Vec<_>>();
        Ok(bytes.try_into().expect("N bytes were drained"))
    }

    async fn take_many(&mut self, count: usize) -> Result<Vec<u8>, UpstreamError> {
        self.fill(count).await?;
        Ok(self.unread.drain(..count).collect())
    }

    async fn peek(&mut self) -> Result<u8, UpstreamError> {
        self.fill(1).await?;
        Ok(self.unread[0])
    }

    async fn fill(&mut self, count: usize) -> Result<(), UpstreamError> {
        while self.unread.len() < count {
            let read = self
                .stream
                .read_buf(&mut self.unread)
                .await
                .map_err(UpstreamError::Broken)?;
            if read == 0 {
                return Err(UpstreamError::Broken(
                    std::io::ErrorKind::UnexpectedEof.into(),
                ));
            }
        }
        Ok(())
    }
}
