//! Whether and how TLS is opened.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::address::HostPattern;

/// What becomes of the TLS of a rule's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inspect {
    /// It passes as it is: what is inside stays unknown.
    #[default]
    Pass,
    /// It ends here, with a certificate of the local authority, and begins again towards the
    /// server, whose certificate is verified.
    Intercept,
}

/// What all opened TLS has in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The folder of the local certificate authority, made on first use; none is the user's own.
    pub authority: Option<PathBuf>,
    /// Files of certificates (PEM) that are believed beside those of the host.
    pub roots: Vec<PathBuf>,
    /// What becomes of a client that does not believe the local authority.
    pub failing: Failing,
    /// Certificates of ours for servers that ask for one.
    pub certificates: Vec<Certificate>,
}

/// What becomes of the later connections of a client that refused our certificate for a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failing {
    /// They are opened as any other, and fail.
    #[default]
    Refuse,
    /// They pass as they are.
    Pass,
}

/// A certificate of ours and the servers that are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The servers.
    pub host: Vec<HostPattern>,
    /// The chain, PEM, ours first.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}
