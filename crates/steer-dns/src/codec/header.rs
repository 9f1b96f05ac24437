use super::malformed::Malformed;
use super::wire::{Reader, Writer};

/// The head of a message without its counts (RFC 1035, section 4.1.1; RFC 4035).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What an answer shares with its query.
    pub id: u16,
    /// Whether it is an answer (QR).
    pub is_answer: bool,
    /// What is asked for.
    pub op_code: OpCode,
    /// An answer of whoever knows (AA).
    pub authoritative: bool,
    /// Not all of it (TC).
    pub truncated: bool,
    /// The resolver is to ask others (RD).
    pub recursion_desired: bool,
    /// The resolver asks others (RA).
    pub recursion_available: bool,
    /// The bit that is reserved (Z).
    pub reserved: bool,
    /// The resolver has checked the data (AD).
    pub authentic: bool,
    /// The resolver is not to check the data (CD).
    pub checking_disabled: bool,
    /// The result; four bits, extended by an OPT record.
    pub response: ResponseCode,
}

/// What is asked for; 0 is a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpCode(pub u8);

impl OpCode {
    /// A plain query.
    pub const QUERY: Self = Self(0);
}

/// The result of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u8);

impl ResponseCode {
    /// It went well.
    pub const NO_ERROR: Self = Self(0);
    /// The query is malformed.
    pub const FORM_ERR: Self = Self(1);
    /// The resolver could not do it.
    pub const SERV_FAIL: Self = Self(2);
    /// The name does not exist.
    pub const NX_DOMAIN: Self = Self(3);
}

impl Header {
    /// The head of a query.
    #[must_use]
    pub const fn query(id: u16) -> Self {
        Self {
            id,
            is_answer: false,
            op_code: OpCode::QUERY,
            authoritative: false,
            truncated: false,
            recursion_desired: true,
            recursion_available: false,
            reserved: false,
            authentic: false,
            checking_disabled: false,
            response: ResponseCode::NO_ERROR,
        }
    }

    /// The head of an answer to this.
    #[must_use]
    pub const fn answer(self, response: ResponseCode) -> Self {
        Self {
            id: self.id,
            is_answer: true,
            op_code: self.op_code,
            authoritative: false,
            truncated: false,
            recursion_desired: self.recursion_desired,
            recursion_available: true,
            reserved: false,
            authentic: false,
            checking_disabled: self.checking_disabled,
            response,
        }
    }

    /// The head of a message, whatever follows.
    ///
    /// # Errors
    /// There are fewer than 12 bytes.
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let header = Self::parse(&mut reader)?;
        reader.bytes(8)?;
        Ok(header)
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = reader.short()?;
        let [high, low] = reader.array()?;
        Ok(Self {
            id,
            is_answer: high & 0x80 != 0,
            op_code: OpCode(high >> 3 & 0xf),
            authoritative: high & 4 != 0,
            truncated: high & 2 != 0,
            recursion_desired: high & 1 != 0,
            recursion_available: low & 0x80 != 0,
            reserved: low & 0x40 != 0,
            authentic: low & 0x20 != 0,
            checking_disabled: low & 0x10 != 0,
            response: ResponseCode(low & 0xf),
        })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        let Self {
            id,
            is_answer,
            op_code,
            authoritative,
            truncated,
            recursion_desired,
            recursion_available,
            reserved,
            authentic,
            checking_disabled,
            response,
        } = self;
        let bit = |set: bool, place: u8| u8::from(set) << place;
        writer.short(id);
        writer.byte(
            bit(is_answer, 7)
                | (op_code.0 & 0xf) << 3
                | bit(authoritative, 2)
                | bit(truncated, 1)
                | bit(recursion_desired, 0),
        );
        writer.byte(
            bit(recursion_available, 7)
                | bit(reserved, 6)
                | bit(authentic, 5)
                | bit(checking_disabled, 4)
                | response.0 & 0xf,
        );
    }
}
