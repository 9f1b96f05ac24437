//! Certificates for servers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey};

use super::error::LeafError;
use super::pair::{Pair, SKEW};
use crate::provider::provider;

/// A certificate for one server, with its key.
pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    made: SystemTime,
    renew: SystemTime,
}

impl Leaf {
    /// Whether it need not be made again.
    pub(super) fn fresh(&self, now: SystemTime) -> bool {
        (self.made - SKEW..self.renew).contains(&now)
    }
}

/// What leaves are made with. All have one key, which lives as long as the process: leaves of one
/// authority that ends here protect the same way.
pub(super) struct Press {
    issuer: Issuer<'static, KeyPair>,
    end: SystemTime,
    public: KeyPair,
    private: Arc<dyn SigningKey>,
}

impl Press {
    pub(super) fn new(pair: Pair) -> Result<Self, rcgen::Error> {
        let Pair {
            certificate,
            key,
            end,
            ..
        } = pair;
        let public = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(public.serialize_der()));
        let private = any_ecdsa_type(&private).expect("a key that was just made is one");
        let press = Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            end,
            public,
            private,
        };
        // Once for nothing: an authority that cannot sign is refused when it is opened.
        let nobody = ServerName::try_from("localhost").expect("a literal name is valid");
        press.certificate(&nobody, SystemTime::now())?;
        Ok(press)
    }

    pub(super) fn leaf(
        &self,
        name: &ServerName<'static>,
        now: SystemTime,
    ) -> Result<Leaf, LeafError> {
        let certificate = self.certificate(name, now).map_err(|source| LeafError {
            name: name.to_str().into_owned(),
            source,
        })?;
        let key = CertifiedKey::new(vec![certificate], Arc::clone(&self.private));
        Ok(Leaf {
            key: Arc::new(key),
            made: now,
            renew: now + LIFETIME / 2,
        })
    }

    fn certificate(
        &self,
        name: &ServerName<'static>,
        now: SystemTime,
    ) -> Result<rustls::pki_types::CertificateDer<'static>, rcgen::Error> {
        let mut params = CertificateParams::default();
        let text = name.to_str();
        params.subject_alt_names = vec![match name {
            ServerName::IpAddress(address) => SanType::IpAddress(IpAddr::from(*address)),
            _ => SanType::DnsName(text.as_ref().try_into()?),
        }];
        params.distinguished_name = DistinguishedName::new();
        // X.520 has it be no longer; without one, what counts is marked as critical.
        if text.len() <= 64 {
            params
                .distinguished_name
                .push(DnType::CommonName, text.as_ref());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Strict verifiers, Python's from 3.13 on for one, want to find the issuer by it.
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        params.not_before = (now - SKEW).into();
        params.not_after = (now + LIFETIME).min(self.end).into();
        let made = params.signed_by(&self.public, &self.issuer)?;
        Ok(made.der().clone())
    }
}

/// A number that no other certificate has. The key does not tell them apart.
pub(super) fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive, and of the same length always.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
