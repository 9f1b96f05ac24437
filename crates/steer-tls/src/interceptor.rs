//! TLS of clients, opened with certificates of the local authority.

mod alert;
mod error;

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

pub use alert::{Alert, refuse};
pub use error::AcceptError;
pub(crate) use error::tls;

use crate::provider::provider;

/// A client's handshake that has begun: its ClientHello is read, and nothing is answered.
///
/// ```text
/// read ─> Opening ─ accept(leaf, alpn, …) ─> TlsStream
///            └───── refuse(alert)
/// ```
#[derive(Debug)]
pub struct Opening<S> {
    begun: StartHandshake<S>,
    server_name: Option<String>,
    alpn: Vec<Vec<u8>>,
}

impl<S> Opening<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads a ClientHello, for which `patience` is the most time it may take. What was read already comes back by [`Prefixed`](crate::Prefixed).
    ///
    /// # Errors
    /// The client sends no ClientHello; it has been told by an alert where that helps.
    pub async fn read(stream: S, patience: Duration) -> Result<Self, AcceptError> {
        let acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let begun = match timeout(patience, acceptor).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return Err(AcceptError::hello(error)),
            Err(_) => return Err(AcceptError::Slow),
        };
        let hello = begun.client_hello();
        let server_name = hello.server_name().map(str::to_owned);
        let alpn = hello
            .alpn()
            .map(|offers| offers.map(<[u8]>::to_vec).collect())
            .unwrap_or_default();
        Ok(Self {
            begun,
            server_name,
            alpn,
        })
    }

    /// The server's name, if the client says one (SNI).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The application protocols that the client offers, the first one liked best.
    #[must_use]
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.alpn
    }

    /// Finishes the handshake with a certificate of the authority.
    ///
    /// `alpn` is the application protocol that the client is told, one that it offered.
    ///
    /// # Errors
    /// See [`AcceptError`]; [`AcceptError::Distrusted`] is a client that does not believe the
    /// certificate.
    pub async fn accept(
        self,
        leaf: Arc<CertifiedKey>,
        alpn: Option<&[u8]>,
        patience: Duration,
    ) -> Result<TlsStream<S>, AcceptError> {
        let config = config(leaf, alpn);
        match timeout(patience, self.begun.into_stream(Arc::new(config))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(AcceptError::handshake(error)),
            Err(_) => Err(AcceptError::Slow),
        }
    }

    /// Ends the handshake with an alert.
    pub async fn refuse(self, alert: Alert) {
        refuse(self.begun.io, alert).await;
    }
}

fn config(leaf: Arc<CertifiedKey>, alpn: Option<&[u8]>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows the usual versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(One(leaf)));
    config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
    // Each session asks the rules anew; none is resumed that another server was asked for.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// The same certificate for everybody: whoever made it knows for which name.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
