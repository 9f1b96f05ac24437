//! The certificates that a command believes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// Certificates, each once.
#[derive(Default)]
pub(super) struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
    known: HashSet<CertificateDer<'static>>,
}

impl Bundle {
    /// What this host believes.
    pub(super) fn of_host() -> Self {
        let mut bundle = Self::default();
        for certificate in rustls_native_certs::load_native_certs().certs {
            bundle.add(certificate);
        }
        bundle
    }

    pub(super) fn add(&mut self, certificate: CertificateDer<'static>) {
        if self.known.insert(certificate.clone()) {
            self.certificates.push(certificate);
        }
    }

    /// Adds what a file holds, or each file of a directory.
    pub(super) fn add_path(&mut self, path: &Path) -> io::Result<()> {
        if !fs::metadata(path)?.is_dir() {
            return self.add_file(path);
        }
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            // Directories of certificates hold lists of revoked ones and notes too.
            if path.is_file() {
                let _ = self.add_file(&path);
            }
        }
        Ok(())
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    pub(super) fn pem(&self) -> String {
        let mut text = String::new();
        for certificate in &self.certificates {
            let body = STANDARD.encode(certificate);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in body.as_bytes().chunks(64) {
                text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }

    fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let found =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let found = found.map_err(|error| match error {
            pem::Error::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })?;
        found
            .into_iter()
            .for_each(|certificate| self.add(certificate));
        Ok(())
    }
}
