//! The proxies that rules can name.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::address::{Destination, HostName};
use crate::proxy_protocol::Version;

/// A proxy that connections can be sent through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name in rules and records.
    pub name: String,
    /// What it speaks.
    pub kind: UpstreamKind,
    /// Where it is.
    pub address: Destination,
    /// Where it is too: the next one is taken where those before it fail.
    pub endpoints: Vec<Destination>,
    /// What it asks of us.
    pub credentials: Option<Credentials>,
    /// The TLS that it is spoken to in; none is in the clear.
    pub tls: Option<UpstreamTls>,
    /// The version of the PROXY protocol that it is told of the client in.
    pub proxy_protocol: Option<Version>,
    /// The upstream that it is reached through.
    pub via: Option<String>,
    /// How its endpoints are checked; none is by the connections alone.
    pub health: Option<Health>,
    /// What bounds its connections.
    pub limits: UpstreamLimits,
    /// Who resolves names.
    pub resolve: Resolving,
}

impl Upstream {
    /// One with a single address and nothing else written.
    ///
    /// ```
    /// use steer_core::policy::{Upstream, UpstreamKind};
    ///
    /// let corp = Upstream::new("corp", UpstreamKind::Socks5, "10.0.0.1:1080".parse()?);
    /// assert_eq!(corp.places().count(), 1);
    /// # Ok::<(), steer_core::address::DestinationError>(())
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, kind: UpstreamKind, address: Destination) -> Self {
        Self {
            name: name.into(),
            kind,
            address,
            endpoints: Vec::new(),
            credentials: None,
            tls: None,
            proxy_protocol: None,
            via: None,
            health: None,
            limits: UpstreamLimits::default(),
            resolve: Resolving::default(),
        }
    }

    /// Every place where it is, in the order in which they are taken.
    pub fn places(&self) -> impl Iterator<Item = &Destination> {
        std::iter::once(&self.address).chain(&self.endpoints)
    }
}

/// What an upstream proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    Http,
    /// Nothing: it takes each connection as it is, and the PROXY protocol alone can tell it more.
    Tcp,
}

/// The TLS between us and a proxy. Its certificate is verified for the name of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// The name that the certificate is verified for; none is the host of the address.
    pub name: Option<HostName>,
    /// Files of certificates (PEM) that are believed beside those of the host.
    pub roots: Vec<PathBuf>,
    /// What we show a proxy that asks who we are.
    pub certificate: Option<ClientCertificate>,
}

/// A certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The chain, PEM, ours first.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// How the endpoints of an upstream are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// From one check to the next.
    pub interval: Duration,
    /// Failures in a row after which an endpoint is taken for dead.
    pub fall: u32,
    /// Successes in a row after which it is taken for alive again.
    pub rise: u32,
    /// How long a check may take.
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            fall: 3,
            rise: 2,
            timeout: Duration::from_secs(2),
        }
    }
}

/// What bounds the connections of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamLimits {
    /// How many there may be at a time; none leaves it to the engine's limit.
    pub connections: Option<usize>,
    /// How long connecting to one of its endpoints may take; none leaves it to the engine's limit.
    pub connect: Option<Duration>,
}

/// Who resolves the names of destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolving {
    /// The upstream, which is asked for names.
    #[default]
    Upstream,
    /// The engine: the upstream is asked for addresses alone.
    Here,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}
