//! The proxies that rules can name.

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::address::Destination;

/// A proxy that connections can be sent through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name in rules and records.
    pub name: String,
    /// What it speaks.
    pub kind: UpstreamKind,
    /// Where it is.
    pub address: Destination,
    /// What it asks of us.
    pub credentials: Option<Credentials>,
}

/// What an upstream proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    Http,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}
