//! From an accepted connection to what its client asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use steer_core::accept::Accepted;
use steer_core::address::{Cidr, ClientAddr, Destination};
use steer_core::method::Method;
use steer_core::steered::{Answer, Flow, Identity, ResetAnswer, Steered, abort};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::absolute::AbsoluteAnswer;
use crate::announced::{Announced, announced};
use crate::associate::{Association, Associations};
use crate::connect::ConnectAnswer;
use crate::detect::Speech;
use crate::exchange::Exchange;
use crate::farewell::farewell;
use crate::forward::Fixed;
use crate::gate::Guest;
use crate::head::{Peek, read_head};
use crate::login::Login;
use crate::reply::Fault;
use crate::request::Request;
use crate::socks4::{self, Socks4Answer};
use crate::socks5::{self, Claim, NOT_SERVED, SocksAnswer, associated, not_supported};

/// Why a handshake led nowhere.
#[derive(Debug)]
pub(crate) enum End {
    /// The client left.
    Gone(io::Error),
    /// The client is told why.
    Words(Vec<u8>),
    /// There is nothing that the client would understand: it gets a reset.
    Silent(&'static str),
}

/// What a handshake led to.
#[derive(Debug)]
pub(crate) enum Greeted {
    /// A connection.
    Steered(Box<Steered>),
    /// A UDP port, which lives as long as this connection.
    Associated(Box<Association>, TcpStream),
}

/// What a port serves, and for whom.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) via: Method,
    /// Who begins with a PROXY header.
    pub(crate) senders: Vec<Cidr>,
    pub(crate) serves: Serves,
}

/// What a port serves.
#[derive(Debug)]
pub(crate) enum Serves {
    /// Clients that say where to.
    Clients {
        /// What they must give.
        login: Option<Login>,
        /// Where UDP is served.
        associations: Option<Associations>,
    },
    /// One destination, without a word of the client's.
    Fixed(Fixed),
}

/// Speaks with a client until its destination is known; `None` when it asked for none.
pub(crate) async fn greet(
    accepted: Accepted,
    identity: Identity,
    guest: Guest,
    service: &Service,
) -> Option<Greeted> {
    let Accepted {
        mut stream,
        client,
        local,
    } = accepted;
    // Replies are small and the client waits for each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may be delayed");
    }
    let mut speech = Speech::Unknown;
    let asked = tokio::time::timeout(DEADLINE, service.hear(&mut stream, client, &mut speech))
        .await
        .unwrap_or_else(|_| {
            Err(match speech {
                Speech::Http => End::Words(Fault::Slow.answer()),
                _ => End::Silent("the handshake took too long"),
            })
        });
    let (whose, asked) = match asked.and_then(|(whose, asked)| Ok((whose, asked.by(guest)?))) {
        Ok(asked) => asked,
        Err(end) => {
            refuse(stream, end).await;
            return None;
        }
    };
    let asked = match asked {
        Asked::Stream(asked) => asked,
        Asked::Datagrams(claim) => {
            let opened = match whose {
                Announced::Sender => service.associate(client, local, claim, identity),
                // Its datagrams would not come by the sender.
                Announced::Client(_) => Err(not_supported()),
            };
            return tell(stream, opened).await;
        }
    };
    let (client, identity) = match whose {
        Announced::Sender => (client, identity),
        // The socket's owner is the sender, whose doing this is not.
        Announced::Client(address) => (address.map_or(client, ClientAddr), Identity::default()),
    };
    let (flow, destination, answer) = asked.answered(stream);
    let upstream = match &service.serves {
        Serves::Clients { .. } => None,
        Serves::Fixed(to) => to.upstream.clone(),
    };
    Some(Greeted::Steered(Box::new(Steered {
        flow,
        client,
        destination,
        identity,
        via: service.via,
        upstream,
        app: None,
        inside: None,
        answer,
    })))
}

impl Service {
    /// Whose connection it is and what is asked for.
    async fn hear<S: Peek>(
        &self,
        stream: &mut S,
        sender: ClientAddr,
        speech: &mut Speech,
    ) -> Result<(Announced, Asked), End> {
        let whose = announced(stream, sender, &self.senders).await?;
        let asked = match &self.serves {
            Serves::Clients { login, .. } => ask(stream, login.as_ref(), speech).await?,
            Serves::Fixed(to) => Asked::Stream(AskedStream::Fixed(to.destination.clone())),
        };
        Ok((whose, asked))
    }

    fn associate(
        &self,
        client: ClientAddr,
        local: SocketAddr,
        claim: Option<Claim>,
        identity: Identity,
    ) -> Result<Association, End> {
        let Serves::Clients {
            associations: Some(associations),
            ..
        } = &self.serves
        else {
            return Err(not_supported());
        };
        // Behind NAT, a client knows neither its address nor its port as they are seen here.
        let seen = |claim: &Claim| {
            let ip = claim.ip().to_canonical();
            ip.is_unspecified() || ip == client.0.ip().to_canonical()
        };
        let port = claim.filter(seen).map(|claim| claim.port());
        associations
            .open(client, local, port, identity)
            .map_err(|error| {
                tracing::debug!(%error, "a client got no UDP port");
                socks5::failure()
            })
    }
}

/// Tells a client where its UDP port is, or why it has none.
async fn tell(mut stream: TcpStream, opened: Result<Association, End>) -> Option<Greeted> {
    match opened {
        Ok(association) => match stream.write_all(&associated(association.address())).await {
            Ok(()) => return Some(Greeted::Associated(Box::new(association), stream)),
            Err(error) => refuse(stream, End::Gone(error)).await,
        },
        Err(end) => refuse(stream, end).await,
    }
    None
}

/// What a client asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A connection.
    Stream(AskedStream),
    /// A UDP port.
    Datagrams(Option<Claim>),
}

/// A connection that a client asked for, in its protocol.
#[derive(Debug)]
pub(crate) enum AskedStream {
    /// By SOCKS5.
    Socks5(Destination),
    /// By SOCKS4.
    Socks4(Destination),
    /// By HTTP.
    Http(Request),
    /// By connecting, which is all that such a port wants.
    Fixed(Destination),
}

impl Asked {
    /// Refuses whoever is not served, in the protocol that was spoken.
    fn by(self, guest: Guest) -> Result<Self, End> {
        match (guest, &self) {
            (Guest::Admitted, _) => Ok(self),
            (Guest::Stranger, Self::Stream(AskedStream::Http(_))) => Err(Fault::Stranger.into()),
            (Guest::Stranger, Self::Stream(AskedStream::Fixed(_))) => {
                Err(End::Silent("of another user"))
            }
            (Guest::Stranger, Self::Stream(AskedStream::Socks4(_))) => Err(socks4::rejected()),
            (Guest::Stranger, Self::Stream(AskedStream::Socks5(_)) | Self::Datagrams(_)) => {
                Err(End::Words(NOT_SERVED.to_vec()))
            }
        }
    }
}

impl AskedStream {
    fn answered(self, stream: TcpStream) -> (Flow, Destination, Box<dyn Answer>) {
        match self {
            Self::Socks5(destination) => (Flow::Tcp(stream), destination, Box::new(SocksAnswer)),
            Self::Socks4(destination) => (Flow::Tcp(stream), destination, Box::new(Socks4Answer)),
            Self::Fixed(destination) => (Flow::Tcp(stream), destination, Box::new(ResetAnswer)),
            Self::Http(Request::Connect(destination)) => {
                let answer = ConnectAnswer {
                    destination: destination.clone(),
                };
                (Flow::Tcp(stream), destination, Box::new(answer))
            }
            Self::Http(Request::Absolute {
                destination,
                head,
                framing,
                detail,
            }) => {
                let answer = AbsoluteAnswer {
                    destination: destination.clone(),
                    detail,
                };
                let exchange = Exchange::new(stream, head, framing);
                let flow = Flow::Stream(Box::new(exchange));
                (flow, destination, Box::new(answer))
            }
        }
    }
}

/// Reads what a client asks for, and not a byte more; `speech` is what it speaks as soon as that is
/// known.
pub(crate) async fn ask<S: Peek>(
    stream: &mut S,
    login: Option<&Login>,
    speech: &mut Speech,
) -> Result<Asked, End> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(End::Silent("the client left without a word"));
    }
    *speech = Speech::of(first[0]);
    match speech {
        Speech::Socks5 => Ok(match socks5::request(stream, login).await? {
            socks5::Request::Connect(to) => Asked::Stream(AskedStream::Socks5(to)),
            socks5::Request::Associate(claim) => Asked::Datagrams(claim),
        }),
        Speech::Socks4 => {
            let to = socks4::request(stream, login).await?;
            Ok(Asked::Stream(AskedStream::Socks4(to)))
        }
        Speech::Http => {
            let head = read_head(stream).await?;
            let request = Request::parse(&head, login)?;
            Ok(Asked::Stream(AskedStream::Http(request)))
        }
        Speech::Unknown => Err(End::Silent("neither SOCKS nor HTTP/1")),
    }
}

async fn refuse(stream: TcpStream, end: End) {
    match end {
        End::Gone(error) => {
            tracing::debug!(%error, "a client left within its handshake");
            abort(stream);
        }
        End::Silent(why) => {
            tracing::debug!(why, "a connection was reset");
            abort(stream);
        }
        End::Words(words) => {
            tracing::debug!(
                words = %words.escape_ascii(),
                "a connection was refused"
            );
            farewell(Flow::Tcp(stream), &words).await;
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Words(fault.answer())
    }
}

/// How long a client has to say what it wants.
const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
