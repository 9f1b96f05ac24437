use std::fmt;

use super::malformed::Malformed;
use super::name::Name;
use super::wire::{Reader, Writer};

/// What a query asks (RFC 1035, section 4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type of the records wanted.
    pub kind: Kind,
    /// Their class.
    pub class: Class,
}

/// The type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u16);

impl Kind {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// Another name for the same.
    pub const CNAME: Self = Self(5);
    /// The name of an address.
    pub const PTR: Self = Self(12);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// What both ends can do beyond RFC 1035 (RFC 6891).
    pub const OPT: Self = Self(41);
    /// How a service is reached (RFC 9460).
    pub const SVCB: Self = Self(64);
    /// How an origin of https is reached (RFC 9460).
    pub const HTTPS: Self = Self(65);
    /// Every type, or whichever the resolver likes (RFC 8482).
    pub const ANY: Self = Self(255);
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::A => "A",
            Self::CNAME => "CNAME",
            Self::PTR => "PTR",
            Self::AAAA => "AAAA",
            Self::OPT => "OPT",
            Self::SVCB => "SVCB",
            Self::HTTPS => "HTTPS",
            Self::ANY => "ANY",
            Self(number) => return write!(f, "TYPE{number}"),
        };
        f.write_str(name)
    }
}

/// The class of a record; the Internet's in all but rare cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u16);

impl Class {
    /// The Internet.
    pub const IN: Self = Self(1);
    /// Every class.
    pub const ANY: Self = Self(255);
}

impl Question {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: reader.name()?,
            kind: Kind(reader.short()?),
            class: Class(reader.short()?),
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { name, kind, class } = self;
        writer.name(name);
        writer.short(kind.0);
        writer.short(class.0);
    }
}
