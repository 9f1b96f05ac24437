//! TLS for proxies: a local certificate authority, connections that are opened with its
//! certificates, and servers whose certificates are verified.
//!
//! ```text
//! client ─ TLS, leaf of the Authority ─> Opening ─ plain ─> … ─> Connector ─ TLS, verified ─> server
//!                                           │
//!                                           └ a client that refuses the leaf ─> Distrust
//! command <─ files and variables ─ Trust <─ Authority
//! ```
#![forbid(unsafe_code)]

mod authority;
mod connector;
mod distrust;
mod home;
mod interceptor;
mod prefixed;
mod provider;
mod trust;

pub use authority::{Authority, AuthorityError, LeafError};
pub use connector::{ConnectError, Connector, ConnectorError};
pub use distrust::{Client, Distrust};
pub use interceptor::{AcceptError, Alert, Opening, refuse};
pub use prefixed::Prefixed;
pub use rustls::pki_types::ServerName;
pub use rustls::sign::CertifiedKey;
pub use tokio_rustls::{client, server};
pub use trust::{TRUST_VARIABLES, Trust, TrustError, TrustValue, TrustVariable};
