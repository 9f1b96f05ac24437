//! Reading and writing numbers and bytes at a place in a message.

use std::collections::HashMap;

use super::malformed::Malformed;
use super::name::Name;

/// A place in a message that is read.
///
/// `end` bounds what is read here, while names may point back into the whole message.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            at: 0,
            end: message.len(),
        }
    }

    /// The next bytes as a reader of their own.
    pub(super) fn part(&mut self, length: usize) -> Result<Self, Malformed> {
        let at = self.at;
        self.bytes(length)?;
        Ok(Self {
            message: self.message,
            at,
            end: self.at,
        })
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let after = self.at.checked_add(length).ok_or(Malformed::Short)?;
        if after > self.end {
            return Err(Malformed::Short);
        }
        let bytes = self.message.get(self.at..after).ok_or(Malformed::Short)?;
        self.at = after;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed::Short)
    }

    pub(super) fn short(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = self.message.get(self.at..self.end).unwrap_or_default();
        self.at = self.end;
        rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    pub(super) fn name(&mut self) -> Result<Name, Malformed> {
        let (name, after) = Name::read(self.message, self.at)?;
        if after > self.end {
            return Err(Malformed::Short);
        }
        self.at = after;
        Ok(name)
    }
}

/// A message that is written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Where a name, in lower case, was written; names to come point there.
    names: HashMap<Vec<u8>, u16>,
}

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn short(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn long(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A name, its end as a pointer to where the same end stands already.
    pub(super) fn name(&mut self, name: &Name) {
        for suffix in name.suffixes() {
            let key = suffix.to_ascii_lowercase();
            if let Some(at) = self.names.get(&key) {
                self.short(POINTER | *at);
                return;
            }
            // A pointer has 14 bits.
            if let Ok(at) = u16::try_from(self.bytes.len())
                && at < POINTER_LIMIT
            {
                self.names.insert(key, at);
            }
            let label = usize::from(suffix.first().copied().unwrap_or_default()) + 1;
            self.bytes(&suffix[..label]);
        }
        self.byte(0);
    }

    /// A name in full: some types of data must not be compressed.
    pub(super) fn whole_name(&mut self, name: &Name) {
        self.bytes(name.as_wire());
    }

    /// What `write` writes, its length before it.
    pub(super) fn sized(&mut self, write: impl FnOnce(&mut Self)) -> Result<(), Malformed> {
        let at = self.bytes.len();
        self.short(0);
        write(self);
        let length = self.bytes.len() - at - 2;
        let length = u16::try_from(length).map_err(|_| Malformed::TooLarge)?;
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, Malformed> {
        if self.bytes.len() > usize::from(u16::MAX) {
            return Err(Malformed::TooLarge);
        }
        Ok(self.bytes)
    }
}

/// The two bits that make a label a pointer.
const POINTER: u16 = 0xc000;

/// The first place that a pointer cannot lead to.
const POINTER_LIMIT: u16 = 0x4000;
