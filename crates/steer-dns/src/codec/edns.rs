use super::malformed::Malformed;
use super::wire::{Reader, Writer};

/// What a message says of its sender beyond RFC 1035, as an OPT record (RFC 6891).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The largest datagram that it takes.
    pub payload: u16,
    /// The upper eight bits of the response code.
    pub extended_response: u8,
    /// The version; 0 is the only one.
    pub version: u8,
    /// Flags; the highest is DO (RFC 3225).
    pub flags: u16,
    /// Further data.
    pub options: Vec<EdnsOption>,
}

/// An option of an OPT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdnsOption {
    /// What it is.
    pub code: u16,
    /// Its data.
    pub data: Vec<u8>,
}

impl Edns {
    /// What is written in the places of a record's class and TTL, and its data.
    pub(super) fn parse(class: u16, ttl: u32, data: &mut Reader<'_>) -> Result<Self, Malformed> {
        let [extended_response, version, high, low] = ttl.to_be_bytes();
        let mut options = Vec::new();
        while !data.is_empty() {
            let code = data.short()?;
            let length = data.short()?;
            options.push(EdnsOption {
                code,
                data: data.bytes(usize::from(length))?.to_vec(),
            });
        }
        Ok(Self {
            payload: class,
            extended_response,
            version,
            flags: u16::from_be_bytes([high, low]),
            options,
        })
    }

    pub(super) fn ttl(&self) -> u32 {
        let [high, low] = self.flags.to_be_bytes();
        u32::from_be_bytes([self.extended_response, self.version, high, low])
    }

    pub(super) fn write_data(&self, writer: &mut Writer) -> Result<(), Malformed> {
        for option in &self.options {
            writer.short(option.code);
            writer.sized(|writer| writer.bytes(&option.data))?;
        }
        Ok(())
    }
}
