//! Why the engine could not reach a destination.
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use steer_core::address::{Destination, HostName};
use steer_core::proxy_protocol::HeaderError;
use steer_core::steered::Refusal;
use steer_tls::ConnectError;

use crate::upstream::socks5::Reply;

/// Why the engine could not reach a destination.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The destination, or the proxy before it, could not be connected.
    #[error("{address} could not be connected")]
    Connect {
        /// The address dialled.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The name could not be looked up.
    #[error("the name {name} could not be resolved")]
    Resolve {
        /// The name.
        name: HostName,
        /// Why.
        source: io::Error,
    },
    /// The name has no address.
    #[error("the name {0} has no address")]
    NoAddress(HostName),
    /// The deadline passed.
    #[error("{0} could not be reached in time")]
    Deadline(Destination),
    /// The address leads back to the engine.
    #[error("{0} leads back to this engine")]
    Loop(SocketAddr),
    /// The proxy broke off, or the connection to it failed.
    #[error("the connection to the proxy broke")]
    Broken(#[source] io::Error),
    /// The proxy answered something that its protocol does not allow.
    #[error("the proxy does not speak {protocol}: {what}")]
    Protocol {
        /// What it should speak.
        protocol: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The SOCKS5 proxy would not connect.
    #[error("the SOCKS5 proxy answers: {0}")]
    Socks5(Reply),
    /// The HTTP proxy would not connect.
    #[error("the HTTP proxy answers with status {0}")]
    Status(u16),
    /// The proxy wants credentials, or others than ours.
    #[error("the proxy refuses {}", if *.given { "the user name and password" } else { "a connection without credentials" })]
    Credentials {
        /// Whether any were given.
        given: bool,
    },
    /// A secret or name is longer than the protocol can carry.
    #[error("the {0} of the upstream is longer than SOCKS5 can carry")]
    TooLong(&'static str),
    /// The client's address could not be taken for the dial.
    #[error("the client's address {address} could not be used as the source")]
    Source {
        /// The client's.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// The client's address is of another family than the destination's.
    #[error("{address} cannot be reached from the client's address {client}")]
    OtherFamily {
        /// The client's.
        client: IpAddr,
        /// The destination.
        address: SocketAddr,
    },
    /// An upstream carries no datagrams.
    #[error("{why} carries no UDP")]
    NoDatagrams {
        /// The upstream, which may be one before that of the rule.
        upstream: String,
        /// What it is.
        why: NoUdp,
    },
    /// The upstream has as many connections as it may have.
    #[error("the upstream {0:?} has all the connections that it may have")]
    Busy(String),
    /// TLS with the proxy failed.
    #[error("TLS with the proxy failed")]
    Tls(#[source] ConnectError),
    /// The proxy could not be told of the client.
    #[error("the proxy could not be told of the client")]
    Header(#[source] HeaderError),
    /// A rule names an upstream that does not exist.
    #[error("there is no upstream named {0:?}")]
    Unknown(String),
}

/// What carries no datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUdp {
    /// A proxy that speaks HTTP.
    Http,
    /// A place that takes connections as they are.
    Tcp,
    /// A SOCKS5 proxy that is spoken to in TLS: datagrams would go beside it, in the clear.
    Sealed,
}

impl fmt::Display for NoUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "an HTTP proxy",
            Self::Tcp => "a tcp:// upstream",
            Self::Sealed => "a proxy that is spoken to in TLS",
        })
    }
}

impl UpstreamError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Connect { address, .. } => format!(
                "check that something listens there: nc -vz {} {}",
                address.ip(),
                address.port()
            ),
            Self::Resolve { name, .. } | Self::NoAddress(name) => {
                format!("check the resolver: getent ahosts {name}")
            }
            Self::Deadline(destination) => {
                format!("check the route to {destination}, or raise the connect deadline")
            }
            Self::Loop(address) => format!(
                "{address} is a listener of this engine: give the upstream or rule another address"
            ),
            Self::Broken(_) => "see the log of the proxy".to_owned(),
            Self::Protocol { protocol, .. } => format!(
                "check that the upstream is a {protocol} proxy and its url names the right scheme"
            ),
            Self::Socks5(_) | Self::Status(_) => {
                "see the log and the access rules of the proxy".to_owned()
            }
            Self::Credentials { given: true } => {
                "correct the username and password of the upstream".to_owned()
            }
            Self::Credentials { given: false } => {
                "give the upstream a username and password".to_owned()
            }
            Self::Source { .. } => {
                "run steer with CAP_NET_ADMIN, or write `source: engine`".to_owned()
            }
            Self::OtherFamily { .. } => {
                "write `source: engine` for clients that reach both families".to_owned()
            }
            Self::NoDatagrams { upstream, .. } => format!(
                "give the rule an upstream that speaks SOCKS5 without TLS where {upstream:?} \
                 stands, or protocol: [tcp]"
            ),
            Self::Busy(upstream) => {
                format!("raise `limits.connections` of the upstream {upstream:?}, or wait")
            }
            Self::Tls(error) => error.help(),
            Self::Header(error) => error.help(),
            Self::TooLong(what) => format!("shorten the {what} to at most 255 bytes"),
            Self::Unknown(name) => format!("define {name:?} under upstreams, or correct the rule"),
        }
    }

    /// What it means to the program that asked.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Connect { source, .. } => Refusal::of(source),
            Self::Resolve { .. } | Self::NoAddress(_) => Refusal::NoSuchHost,
            Self::Deadline(_) => Refusal::TimedOut,
            Self::Loop(_) => Refusal::Loop,
            Self::Busy(_) => Refusal::Busy,
            Self::Socks5(reply) => reply.refusal(),
            Self::Status(504) => Refusal::TimedOut,
            Self::Broken(_)
            | Self::Protocol { .. }
            | Self::Status(_)
            | Self::Credentials { .. }
            | Self::TooLong(_)
            | Self::NoDatagrams { .. }
            | Self::Tls(_)
            | Self::Header(_)
            | Self::Unknown(_) => Refusal::Upstream,
            Self::Source { .. } => Refusal::Other,
            Self::OtherFamily { .. } => Refusal::NetworkUnreachable,
        }
    }
}
