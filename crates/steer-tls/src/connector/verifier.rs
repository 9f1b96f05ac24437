//! Whether a server is the one of its name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::roots::Roots;
use crate::provider::provider;

/// The verifier of rustls, with two differences: a certificate that the policy names may be the
/// server's own, as those are that many a server of a developer makes for itself; and what nobody who
/// is believed has signed is always told as that.
#[derive(Debug)]
pub(super) struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    written: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub(super) fn new(roots: Roots) -> Self {
        let Roots { store, written } = roots;
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
        Self {
            usual: usual.build().expect("there is a root"),
            written,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.usual.verify_server_cert(own, chain, name, ocsp, now);
        let Err(error) = usual else {
            return usual;
        };
        if self.written.iter().any(|written| written == own) {
            return by_itself(own, name, now);
        }
        let unbelieved = match &error {
            // By another authority of the same name.
            Error::InvalidCertificate(CertificateError::BadSignature) => true,
            // An authority's certificate as a server's own is refused before its signature is
            // looked at.
            Error::InvalidCertificate(CertificateError::Other(_)) => is_self_issued(own),
            _ => false,
        };
        if unbelieved {
            return Err(CertificateError::UnknownIssuer.into());
        }
        Err(error)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Verifies the time and the name of a certificate that is believed as it is.
fn by_itself(
    own: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let encoding = |_| Error::from(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(own).map_err(encoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if seconds > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
    Ok(ServerCertVerified::assertion())
}

fn is_self_issued(own: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(own)
        .is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}
