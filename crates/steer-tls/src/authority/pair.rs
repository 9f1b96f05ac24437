//! The certificate and the key of an authority.

use std::time::{Duration, SystemTime};

use nix::unistd::gethostname;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::AuthorityError;
use super::folder::{Files, Folder};
use super::leaf::serial;

/// A certificate and its key, which belong together.
pub(super) struct Pair {
    pub(super) pem: String,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: KeyPair,
    /// When the certificate expires.
    pub(super) end: SystemTime,
}

impl Pair {
    /// Makes both.
    pub(super) fn make(now: SystemTime) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        let end = now + LIFETIME;
        params.not_before = (now - SKEW).into();
        params.not_after = end.into();
        let made = params.self_signed(&key)?;
        Ok(Self {
            pem: made.pem(),
            certificate: made.der().clone(),
            key,
            end,
        })
    }

    /// Takes both as files hold them.
    pub(super) fn read(
        folder: &Folder,
        files: Files,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let Files { certificate, key } = files;
        let (path, key_path) = (folder.certificate(), folder.key());
        let malformed = |path: &std::path::Path, what| AuthorityError::Malformed {
            path: path.to_owned(),
            what,
        };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| malformed(&path, "certificate"))?;
        let key = KeyPair::from_pem(&key).map_err(|_| malformed(&key_path, "private key"))?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|_| malformed(&path, "certificate"))?;
        if &*parsed.public_key().subject_public_key.data != rcgen::PublicKeyData::der_bytes(&key) {
            return Err(AuthorityError::Mismatch {
                certificate: path,
                key: key_path,
            });
        }
        let signs = match parsed.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
            Err(_) => return Err(malformed(&path, "certificate")),
        };
        if !parsed.is_ca() || !signs {
            return Err(AuthorityError::NotAuthority { path });
        }
        let time = |time: x509_parser::time::ASN1Time| SystemTime::from(time.to_datetime());
        let validity = parsed.validity();
        let (begin, end) = (time(validity.not_before), time(validity.not_after));
        if now < begin {
            return Err(AuthorityError::Early { path });
        }
        if now >= end {
            return Err(AuthorityError::Expired { path });
        }
        Ok(Self {
            pem: certificate,
            certificate: der.clone(),
            key,
            end,
        })
    }
}

fn common_name() -> String {
    let host = gethostname().ok().and_then(|name| name.into_string().ok());
    let mut name = format!("steer local CA {}", host.unwrap_or_default());
    // The most that X.520 has a common name be.
    name.truncate(name.floor_char_boundary(64));
    name.trim_end().to_owned()
}

const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How far the clocks of clients may be behind.
pub(super) const SKEW: Duration = Duration::from_secs(3600);
