//! Alerts that end a handshake before anything was answered (RFC 8446, section 6.2).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Why a client's handshake is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alert {
    /// The server's certificate is wrong (`bad_certificate`).
    BadCertificate,
    /// The server's certificate has expired (`certificate_expired`).
    CertificateExpired,
    /// The issuer of the server's certificate is not believed (`unknown_ca`).
    UnknownCa,
    /// The policy refuses it (`access_denied`).
    AccessDenied,
    /// The server could not be reached, or TLS with it failed (`internal_error`).
    InternalError,
    /// The name of the server is none that we serve (`unrecognized_name`).
    UnrecognizedName,
    /// The server speaks none of the application protocols (`no_application_protocol`).
    NoApplicationProtocol,
}

impl Alert {
    const fn code(self) -> u8 {
        match self {
            Self::BadCertificate => 42,
            Self::CertificateExpired => 45,
            Self::UnknownCa => 48,
            Self::AccessDenied => 49,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
            Self::NoApplicationProtocol => 120,
        }
    }
}

/// Ends a client's handshake with a fatal alert; its ClientHello must have been read.
///
/// Waits a moment for the client to close: what it sends to a closed socket would be answered by a
/// reset, and that takes the alert away from it.
pub async fn refuse<S>(mut stream: S, alert: Alert)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Before a ServerHello nothing is encrypted, in any version.
    let record = [ALERT, 3, 3, 0, 2, FATAL, alert.code()];
    let said = async {
        stream.write_all(&record).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut rest = [0; 512];
        while stream.read(&mut rest).await? != 0 {}
        std::io::Result::Ok(())
    };
    // A client that is gone has nothing to be told.
    let _ = timeout(FAREWELL, said).await;
}

const ALERT: u8 = 21;
const FATAL: u8 = 2;
/// How long a client may take to close.
const FAREWELL: Duration = Duration::from_secs(1);
