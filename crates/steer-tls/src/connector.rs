//! Servers by TLS, their certificates verified.

mod certificates;
mod error;
mod roots;
mod verifier;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use steer_core::policy::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use error::{ConnectError, ConnectorError};

use crate::provider::provider;
use certificates::Own;
use roots::Roots;
use verifier::Verifier;

/// Begins TLS with servers whose certificates the host or the policy believes.
///
/// The roots are those of the host (`SSL_CERT_FILE` and `SSL_CERT_DIR` of the engine's environment
/// name others) and `tls.roots`. Sessions are resumed, each name its own. `SSLKEYLOGFILE` has no
/// effect: nobody is to read along.
pub struct Connector {
    usual: Arc<ClientConfig>,
    /// For servers that are shown a certificate of ours.
    own: Vec<(Own, Arc<ClientConfig>)>,
}

impl Connector {
    /// Reads what the policy names.
    ///
    /// # Errors
    /// A file cannot be read or used, or there is no root at all.
    pub fn new(tls: &Tls) -> Result<Self, ConnectorError> {
        let verifier = Arc::new(Verifier::new(Roots::of(tls)?));
        let builder = || {
            ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .expect("the provider knows the usual versions")
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>)
        };
        let own = tls.certificates.iter().map(|certificate| {
            let own = Own::read(certificate)?;
            let config = builder().with_client_cert_resolver(own.resolver());
            Ok((own, Arc::new(config)))
        });
        Ok(Self {
            own: own.collect::<Result<_, ConnectorError>>()?,
            usual: Arc::new(builder().with_no_client_auth()),
        })
    }

    /// Begins TLS with a server and verifies that it is the one of this name.
    ///
    /// `alpn` is what the server is offered, the first one liked best; none is offered where it is
    /// empty. What the server chose is `stream.get_ref().1.alpn_protocol()`.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect<S>(
        &self,
        stream: S,
        name: &ServerName<'_>,
        alpn: &[Vec<u8>],
        patience: Duration,
    ) -> Result<TlsStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self
            .own
            .iter()
            .find(|(own, _)| own.is_for(name))
            .map_or(&self.usual, |(_, config)| config);
        let connector = TlsConnector::from(Arc::clone(config));
        let connecting = connector
            .with_alpn(alpn.to_vec())
            .connect(name.to_owned(), stream);
        match timeout(patience, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(ConnectError::of(name, error)),
            Err(_) => Err(ConnectError::Silent {
                name: name.to_str().into_owned(),
            }),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
