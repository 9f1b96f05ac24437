//! The typed values of version 2.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Header, HeaderError};
use crate::steered::Identity;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const NETNS: u8 = 0x30;
const UID: u8 = 0xe0;
const GID: u8 = 0xe1;
const EXE: u8 = 0xe2;
const CGROUP: u8 = 0xe3;
const PID: u8 = 0xe4;

/// The longest UNIQUE_ID, by the specification.
const LONGEST_ID: usize = 128;

/// A typed value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// What it is; [the module](super) lists those that are known.
    pub kind: u8,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// Who the program is that a header tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Its user id.
    pub uid: Option<u32>,
    /// Its group id.
    pub gid: Option<u32>,
    /// Its process id.
    pub pid: Option<u32>,
    /// Its program file.
    pub exe: Option<PathBuf>,
    /// Its cgroup below the root of the unified hierarchy.
    pub cgroup: Option<String>,
}

impl Tlv {
    /// A value of a kind of one's own.
    #[must_use]
    pub fn new(kind: u8, value: impl Into<Vec<u8>>) -> Self {
        let value = value.into();
        Self { kind, value }
    }

    /// The protocol that is spoken, by its ALPN id.
    #[must_use]
    pub fn alpn(protocol: &[u8]) -> Self {
        Self::new(ALPN, protocol)
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn authority(name: &str) -> Self {
        Self::new(AUTHORITY, name)
    }

    /// What names the connection; of more than 128 bytes the first ones.
    #[must_use]
    pub fn unique_id(id: &[u8]) -> Self {
        Self::new(UNIQUE_ID, &id[..id.len().min(LONGEST_ID)])
    }

    /// The name of the client's network namespace.
    #[must_use]
    pub fn netns(name: &str) -> Self {
        Self::new(NETNS, name)
    }

    /// Who the program is, as far as it is known.
    #[must_use]
    pub fn of(identity: &Identity) -> Vec<Self> {
        let id = |kind, id: Option<u32>| Some(Self::new(kind, id?.to_be_bytes()));
        let Identity {
            pid,
            uid,
            gid,
            exe,
            cgroup,
            command: _,
            container: _,
        } = identity;
        let exe = exe.as_deref().map(Path::as_os_str);
        [
            id(UID, *uid),
            id(GID, *gid),
            exe.map(|exe| Self::new(EXE, exe.as_bytes())),
            cgroup.as_deref().map(|path| Self::new(CGROUP, path)),
            id(PID, *pid),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn write(&self, into: &mut Vec<u8>) -> Result<(), HeaderError> {
        let Self { kind, value } = self;
        let length = u16::try_from(value.len()).map_err(|_| HeaderError::TooLong)?;
        into.push(*kind);
        into.extend_from_slice(&length.to_be_bytes());
        into.extend_from_slice(value);
        Ok(())
    }
}

impl Header {
    /// The protocol that is spoken.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.value(ALPN)
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        std::str::from_utf8(self.value(AUTHORITY)?).ok()
    }

    /// What names the connection.
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.value(UNIQUE_ID)
    }

    /// The name of the client's network namespace.
    #[must_use]
    pub fn netns(&self) -> Option<&str> {
        std::str::from_utf8(self.value(NETNS)?).ok()
    }

    /// Who the program is, as far as it is told.
    #[must_use]
    pub fn who(&self) -> Who {
        let id = |kind| Some(u32::from_be_bytes(self.value(kind)?.try_into().ok()?));
        let text = |kind| std::str::from_utf8(self.value(kind)?).ok();
        Who {
            uid: id(UID),
            gid: id(GID),
            pid: id(PID),
            exe: self
                .value(EXE)
                .map(|path| PathBuf::from(OsStr::from_bytes(path))),
            cgroup: text(CGROUP).map(str::to_owned),
        }
    }

    /// The first value of a kind.
    #[must_use]
    pub fn value(&self, kind: u8) -> Option<&[u8]> {
        let tlv = self.tlvs.iter().find(|tlv| tlv.kind == kind)?;
        Some(&tlv.value)
    }
}

/// Reads values, each with how many bytes follow it.
pub(super) fn read(mut bytes: &[u8]) -> Result<Vec<(usize, Tlv)>, &'static str> {
    let mut tlvs = Vec::new();
    while !bytes.is_empty() {
        let cut = "a value is cut short";
        let (&[kind, high, low], rest) = bytes.split_first_chunk().ok_or(cut)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(cut)?;
        tlvs.push((rest.len(), Tlv::new(kind, value)));
        bytes = rest;
    }
    Ok(tlvs)
}
