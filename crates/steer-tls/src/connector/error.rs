//! Servers with which TLS failed, and policies by which none can begin.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::{ServerName, pem};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::interceptor::{Alert, tls};

/// What a policy names that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// Neither the host nor the policy has a root.
    #[error("no certificate authority is believed: neither this host nor `tls.roots` names one")]
    NoRoots,
    /// A file could not be read as what it is to hold.
    #[error("{file} could not be read as {what}", file = .file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What it has to hold.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// A file in which nothing of the kind stands.
    #[error("{file} holds no {what}", file = .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What it has to hold.
        what: &'static str,
    },
    /// A certificate that cannot be a root.
    #[error("{file} holds a certificate that nothing can be verified by", file = .file.display())]
    Root {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Error,
    },
    /// A key that is not the certificate's, or of no known kind.
    #[error("{key} cannot be used as the key of {chain}", key = .key.display(), chain = .chain.display())]
    Key {
        /// The file of the chain.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: Error,
    },
}

impl ConnectorError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoRoots => {
                "install the package ca-certificates, or name a file of roots as `tls.roots`"
                    .to_owned()
            }
            Self::Pem { file, what, .. } => format!(
                "put {what} (PEM) into {} and make it readable by the user that runs steer",
                file.display()
            ),
            Self::Empty { what, .. } => {
                format!("the file must hold a {what} as PEM, `-----BEGIN …`")
            }
            Self::Root { .. } => "name the certificate of the authority itself".to_owned(),
            Self::Key { chain, .. } => format!(
                "name the key of the first certificate in {}, RSA, ECDSA or Ed25519",
                chain.display()
            ),
        }
    }
}

/// A server with which TLS could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Its certificate has expired.
    #[error("the certificate of {name} has expired")]
    Expired {
        /// The server.
        name: String,
    },
    /// Its certificate is not valid yet.
    #[error("the certificate of {name} is not valid yet")]
    Early {
        /// The server.
        name: String,
    },
    /// Nobody who is believed signed its certificate.
    #[error("the certificate of {name} is signed by itself or by nobody who is believed")]
    UnknownIssuer {
        /// The server.
        name: String,
    },
    /// Its certificate is another server's.
    #[error("the certificate that came for {name} is another server's")]
    WrongName {
        /// The server.
        name: String,
    },
    /// Something else is wrong with its certificate.
    #[error("the certificate of {name} is not valid")]
    Certificate {
        /// The server.
        name: String,
        /// What is wrong.
        source: Error,
    },
    /// It ended the handshake.
    #[error("{name} ended the handshake: {alert:?}")]
    Alert {
        /// The server.
        name: String,
        /// What it says.
        alert: AlertDescription,
    },
    /// What answers is no TLS.
    #[error("what answers for {name} speaks no TLS")]
    NoTls {
        /// The server.
        name: String,
    },
    /// It does not finish the handshake.
    #[error("{name} did not finish its handshake in time")]
    Silent {
        /// The server.
        name: String,
    },
    /// It closed within the handshake.
    #[error("{name} closed within the handshake")]
    Closed {
        /// The server.
        name: String,
    },
    /// The two could not agree.
    #[error("no TLS could be agreed on with {name}")]
    Handshake {
        /// The server.
        name: String,
        /// Why.
        source: Error,
    },
    /// The connection failed.
    #[error("the connection to {name} failed in its handshake")]
    Io {
        /// The server.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl ConnectError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Expired { name } => {
                format!("have whoever runs {name} renew its certificate; look at this host's clock")
            }
            Self::Early { .. } => "look at this host's clock".to_owned(),
            Self::UnknownIssuer { name } => format!(
                "if {name} is yours, name the certificate of its authority in `tls.roots`; \
                 otherwise somebody may be in its place"
            ),
            Self::WrongName { name } => format!(
                "reach the server by a name of its certificate; otherwise somebody may be in the \
                 place of {name}"
            ),
            Self::Certificate { name, .. } => {
                format!("have whoever runs {name} look at its certificate")
            }
            Self::Alert { alert, .. } => match alert {
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::HandshakeFailure
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown => {
                    "if it wants a certificate of yours, name one in `tls.certificates`".to_owned()
                }
                _ => "look at what the server says about it".to_owned(),
            },
            Self::NoTls { .. } => "look at the port; `http://` is without TLS".to_owned(),
            Self::Silent { .. } | Self::Closed { .. } | Self::Io { .. } => {
                "look whether the server is reached at all, and what it says".to_owned()
            }
            Self::Handshake { name, .. } => {
                format!("have {name} speak TLS 1.2 or later, or let this TLS pass: `tls: pass`")
            }
        }
    }

    /// Whether the server may be another one than it is to be: its certificate does not prove it.
    #[must_use]
    pub const fn is_unverified(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::Early { .. }
            | Self::UnknownIssuer { .. }
            | Self::WrongName { .. }
            | Self::Certificate { .. } => true,
            Self::Alert { .. }
            | Self::NoTls { .. }
            | Self::Silent { .. }
            | Self::Closed { .. }
            | Self::Handshake { .. }
            | Self::Io { .. } => false,
        }
    }

    /// Whether it took too long, rather than failed.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// What tells the same to a client whose handshake waits for it.
    #[must_use]
    pub const fn alert(&self) -> Alert {
        match self {
            Self::Expired { .. } => Alert::CertificateExpired,
            Self::UnknownIssuer { .. } => Alert::UnknownCa,
            Self::Early { .. } | Self::WrongName { .. } | Self::Certificate { .. } => {
                Alert::BadCertificate
            }
            Self::Alert {
                alert: AlertDescription::NoApplicationProtocol,
                ..
            } => Alert::NoApplicationProtocol,
            Self::Alert {
                alert: AlertDescription::UnrecognisedName,
                ..
            } => Alert::UnrecognizedName,
            Self::Alert { .. }
            | Self::NoTls { .. }
            | Self::Silent { .. }
            | Self::Closed { .. }
            | Self::Handshake { .. }
            | Self::Io { .. } => Alert::InternalError,
        }
    }

    pub(super) fn of(name: &ServerName<'_>, error: io::Error) -> Self {
        let name = name.to_str().into_owned();
        let error = match tls(error) {
            Ok(error) => error,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Self::Closed { name };
            }
            Err(source) => return Self::Io { name, source },
        };
        match error {
            Error::InvalidCertificate(reason) => Self::certificate(name, reason),
            Error::AlertReceived(alert) => Self::Alert { name, alert },
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NoTls { name },
            source => Self::Handshake { name, source },
        }
    }

    fn certificate(name: String, reason: CertificateError) -> Self {
        use CertificateError as Reason;
        match reason {
            Reason::Expired | Reason::ExpiredContext { .. } => Self::Expired { name },
            Reason::NotValidYet | Reason::NotValidYetContext { .. } => Self::Early { name },
            Reason::UnknownIssuer => Self::UnknownIssuer { name },
            Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
                Self::WrongName { name }
            }
            reason => Self::Certificate {
                name,
                source: Error::InvalidCertificate(reason),
            },
        }
    }
}
