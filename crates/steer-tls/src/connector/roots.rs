//! Whose signatures are believed.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use steer_core::policy::Tls;

use super::error::ConnectorError;
use crate::home::expand;

/// The roots of the host and of a policy.
pub(super) struct Roots {
    pub(super) store: RootCertStore,
    /// Those of the policy, which a server may also have as its own.
    pub(super) written: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn of(tls: &Tls) -> Result<Self, ConnectorError> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a certificate of the host is left out");
        }
        let mut store = RootCertStore::empty();
        // Hosts carry certificates that are no roots by today's rules; the others count.
        store.add_parsable_certificates(found.certs);
        let mut written = Vec::new();
        for file in &tls.roots {
            let file = &*expand(file);
            let mut any = false;
            let unreadable = |source| ConnectorError::Pem {
                file: file.to_owned(),
                what: "certificates",
                source,
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                store
                    .add(certificate.clone())
                    .map_err(|source| ConnectorError::Root {
                        file: file.to_owned(),
                        source,
                    })?;
                written.push(certificate);
                any = true;
            }
            if !any {
                return Err(ConnectorError::Empty {
                    file: file.to_owned(),
                    what: "certificate",
                });
            }
        }
        if store.is_empty() {
            return Err(ConnectorError::NoRoots);
        }
        Ok(Self { store, written })
    }
}
