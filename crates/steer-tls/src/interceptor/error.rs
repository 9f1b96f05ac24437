//! Handshakes of clients that failed.

use std::io;

use rustls::{AlertDescription, Error};

/// A client's handshake that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The client does not believe our certificate: it says so, or closes on seeing it.
    #[error("the client does not believe our certificate ({})", said(.alert.as_ref()))]
    Distrusted {
        /// What it says; none where it closed.
        alert: Option<AlertDescription>,
    },
    /// The client ended the handshake for another reason.
    #[error("the client ended the handshake: {0:?}")]
    Alert(AlertDescription),
    /// The client knows no version or cipher of TLS that is safe.
    #[error("the client speaks no TLS that is safe")]
    Incompatible {
        /// What is missing.
        source: Error,
    },
    /// What the client sends is no TLS.
    #[error("the client sends no TLS handshake")]
    Malformed {
        /// What is wrong with it.
        source: Error,
    },
    /// The client closed before its ClientHello was whole.
    #[error("the client closed within its ClientHello")]
    Truncated,
    /// The client is too slow.
    #[error("the client did not finish its handshake in time")]
    Slow,
    /// The connection failed.
    #[error("the connection of the client failed")]
    Io {
        /// Why.
        source: io::Error,
    },
}

impl AcceptError {
    /// What to do next.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Distrusted { .. } => {
                "have the program believe the certificate of the local authority (ca.pem), or let \
                 its TLS pass: `tls: pass` in a rule for the name, or `failing: pass` in `tls`"
            }
            Self::Alert(_) => "look at what the program says, or let its TLS pass: `tls: pass`",
            Self::Incompatible { .. } => {
                "update the program to TLS 1.2 or later, or let its TLS pass: `tls: pass`"
            }
            Self::Malformed { .. } => {
                "look whether the program speaks TLS here, or let the connection pass: `tls: pass`"
            }
            Self::Truncated | Self::Slow | Self::Io { .. } => {
                "look whether the program was ended, or has a timeout of its own"
            }
        }
    }

    /// Whether the client does not believe our certificate.
    #[must_use]
    pub const fn is_distrust(&self) -> bool {
        matches!(self, Self::Distrusted { .. })
    }

    /// Of what was read before we answered.
    pub(super) fn hello(error: io::Error) -> Self {
        match tls(error) {
            Ok(source) => incompatible(source),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated,
            Err(source) => Self::Io { source },
        }
    }

    /// Of what happened after we had shown our certificate.
    pub(super) fn handshake(error: io::Error) -> Self {
        match tls(error) {
            Ok(Error::AlertReceived(alert)) if distrusts(alert) => {
                Self::Distrusted { alert: Some(alert) }
            }
            Ok(Error::AlertReceived(alert)) => Self::Alert(alert),
            Ok(source) => incompatible(source),
            Err(error) if closed(error.kind()) => Self::Distrusted { alert: None },
            Err(source) => Self::Io { source },
        }
    }
}

/// Alerts about a certificate. Some clients say only that it cannot be read or decrypted, or that
/// they are cancelled by whoever looked at it.
const fn distrusts(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UserCanceled
            | AlertDescription::CloseNotify
    )
}

const fn closed(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn incompatible(source: Error) -> AcceptError {
    match source {
        Error::PeerIncompatible(_) => AcceptError::Incompatible { source },
        source => AcceptError::Malformed { source },
    }
}

/// The error of TLS within one of a stream.
pub(crate) fn tls(error: io::Error) -> Result<Error, io::Error> {
    error.downcast::<Error>()
}

fn said(alert: Option<&AlertDescription>) -> String {
    alert.map_or("it closed the connection".to_owned(), |alert| {
        format!("alert {alert:?}")
    })
}
