//! The trust store of a Java virtual machine, in the form JKS, which every version of Java reads
//! (`sun.security.provider.JavaKeyStore`): no version takes PEM.

use std::path::Path;
use std::time::SystemTime;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

/// A store of believed certificates.
///
/// Big-endian: magic, version, number of entries; each entry a tag, an alias, milliseconds, the
/// type and the length of a certificate, and that; at the end a digest of the password and all.
pub(super) fn jks(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let made = u64::try_from(since.as_millis()).unwrap_or_default();
    let mut store = Vec::new();
    number(&mut store, MAGIC);
    number(&mut store, VERSION);
    number(&mut store, length(certificates.len()));
    for (index, certificate) in certificates.iter().enumerate() {
        number(&mut store, TRUSTED);
        text(&mut store, &format!("steer-{index}"));
        store.extend_from_slice(&made.to_be_bytes());
        text(&mut store, "X.509");
        number(&mut store, length(certificate.len()));
        store.extend_from_slice(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(SALT);
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    store
}

/// What has a virtual machine use a store. Its own words split at blanks outside of quotes.
pub(super) fn options(store: &Path) -> String {
    let store = store.to_string_lossy();
    let quote = if store.contains(char::is_whitespace) {
        "\""
    } else {
        ""
    };
    format!(
        "-Djavax.net.ssl.trustStore={quote}{store}{quote} -Djavax.net.ssl.trustStoreType=JKS \
         -Djavax.net.ssl.trustStorePassword={PASSWORD}"
    )
}

fn number(store: &mut Vec<u8>, value: u32) {
    store.extend_from_slice(&value.to_be_bytes());
}

fn text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the texts here are short");
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("certificates are far shorter")
}

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// The tag of a certificate that is believed.
const TRUSTED: u32 = 2;
/// No secret: what everybody uses where there is none.
const PASSWORD: &str = "changeit";
/// What the format has the digest begin with.
const SALT: &[u8] = b"Mighty Aphrodite";
