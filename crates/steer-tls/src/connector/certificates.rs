//! Certificates of ours for servers that ask for one.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use steer_core::address::{HostName, HostPattern};
use steer_core::policy::Certificate;

use super::error::ConnectorError;
use crate::home::expand;
use crate::provider::provider;

/// A certificate of ours, and the servers that are shown it.
pub(super) struct Own {
    hosts: Vec<HostPattern>,
    key: Arc<CertifiedKey>,
}

impl Own {
    pub(super) fn read(certificate: &Certificate) -> Result<Self, ConnectorError> {
        let Certificate { host, chain, key } = certificate;
        let (chain, key) = (&*expand(chain), &*expand(key));
        let unreadable = |file: &std::path::Path, what| {
            let file = file.to_owned();
            move |source| ConnectorError::Pem { file, what, source }
        };
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(chain, "a chain of certificates"))?;
        if certificates.is_empty() {
            return Err(ConnectorError::Empty {
                file: chain.to_owned(),
                what: "certificate",
            });
        }
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, "a private key"))?;
        let unfit = |source| ConnectorError::Key {
            chain: chain.to_owned(),
            key: key.to_owned(),
            source,
        };
        let certified =
            CertifiedKey::from_der(certificates, private, &provider()).map_err(unfit)?;
        Ok(Self {
            hosts: host.clone(),
            key: Arc::new(certified),
        })
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)))
    }

    pub(super) fn is_for(&self, name: &ServerName<'_>) -> bool {
        let name = HostName::new(&name.to_str()).ok();
        name.is_some_and(|name| self.hosts.iter().any(|pattern| pattern.matches(&name)))
    }
}
