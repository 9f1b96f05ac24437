//! A value in memory.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::error::{MOST, Unsendable};

/// A value, wiped from memory when the last one who holds it lets go.
#[derive(Clone)]
pub(super) struct Text(Arc<Zeroizing<Vec<u8>>>);

impl Text {
    /// Takes what was found elsewhere, where it can be the value of a field, without one newline
    /// at its end. Where nothing stands, whoever should have written it has not.
    pub(super) fn found(bytes: Vec<u8>) -> Result<Self, Unsendable> {
        let mut bytes = Zeroizing::new(bytes);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Unsendable::Empty);
        }
        Self::new(bytes)
    }

    /// Takes bytes that can be the value of a field.
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Unsendable> {
        if bytes.len() > MOST {
            return Err(Unsendable::Long);
        }
        if bytes.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(Unsendable::Control);
        }
        Ok(Self(Arc::new(bytes)))
    }

    /// The value with what stands around it.
    pub(super) fn between(&self, prefix: &str, suffix: &str) -> Self {
        if prefix.is_empty() && suffix.is_empty() {
            return self.clone();
        }
        // Of the right size at once: a buffer that grows leaves what it held behind.
        let size = prefix.len() + self.0.len() + suffix.len();
        let mut joined = Zeroizing::new(Vec::with_capacity(size));
        for part in [prefix.as_bytes(), &self.0, suffix.as_bytes()] {
            joined.extend_from_slice(part);
        }
        Self(Arc::new(joined))
    }

    /// The bytes, which go on being wiped.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(Owner(self.0))
    }
}

struct Owner(Arc<Zeroizing<Vec<u8>>>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
