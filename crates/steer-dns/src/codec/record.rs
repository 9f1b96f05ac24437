use super::data::Data;
use super::malformed::Malformed;
use super::name::Name;
use super::question::{Class, Kind};
use super::wire::{Reader, Writer};

/// A resource record (RFC 1035, section 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The name that it is about.
    pub owner: Name,
    /// Its class.
    pub class: Class,
    /// For how many seconds it holds.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What stands before the data of a record.
pub(super) struct Head {
    pub(super) owner: Name,
    pub(super) kind: Kind,
    pub(super) class: u16,
    pub(super) ttl: u32,
}

impl Head {
    pub(super) fn parse<'a>(reader: &mut Reader<'a>) -> Result<(Self, Reader<'a>), Malformed> {
        let head = Self {
            owner: reader.name()?,
            kind: Kind(reader.short()?),
            class: reader.short()?,
            ttl: reader.long()?,
        };
        let length = reader.short()?;
        let data = reader.part(usize::from(length))?;
        Ok((head, data))
    }
}

impl Record {
    pub(super) fn of(head: Head, data: &mut Reader<'_>) -> Result<Self, Malformed> {
        let Head {
            owner,
            kind,
            class,
            ttl,
        } = head;
        let class = Class(class);
        let data = if class == Class::IN {
            Data::parse(kind, data)?
        } else {
            // What a type means depends on the class, and an update has records without data.
            Data::Other {
                kind,
                bytes: data.rest().to_vec(),
            }
        };
        Ok(Self {
            owner,
            class,
            ttl,
            data,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), Malformed> {
        let Self {
            owner,
            class,
            ttl,
            data,
        } = self;
        writer.name(owner);
        writer.short(data.kind().0);
        writer.short(class.0);
        writer.long(*ttl);
        let mut written = Ok(());
        writer.sized(|writer| written = data.write(writer))?;
        written
    }
}
