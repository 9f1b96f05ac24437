/// Why bytes are no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The message ends in the middle of something.
    #[error("the message ends too early")]
    Short,
    /// Bytes are left after the last record.
    #[error("bytes follow the last record")]
    Trailing,
    /// A pointer leads forward, to itself, or takes too many turns.
    #[error("a name has a pointer that leads nowhere")]
    Pointer,
    /// A name is longer than 255 bytes.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// A label has a type that RFC 1035 does not know, or more than 63 bytes.
    #[error("a label is of an unknown type")]
    Label,
    /// The data of a record does not have the form that its type has.
    #[error("the data of a record is malformed")]
    Data,
    /// More than one OPT record, or one for a name that is not the root.
    #[error("the OPT record is malformed")]
    Opt,
    /// What was to be written is larger than a message can be.
    #[error("the message is larger than 65,535 bytes")]
    TooLarge,
}

impl Malformed {
    /// The reason in a few words, for a log line.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Short => "the message ends too early",
            Self::Trailing => "bytes follow the last record",
            Self::Pointer => "a name has a pointer that leads nowhere",
            Self::NameTooLong => "a name is too long",
            Self::Label => "a label is of an unknown type",
            Self::Data => "the data of a record is malformed",
            Self::Opt => "the OPT record is malformed",
            Self::TooLarge => "the message is too large",
        }
    }
}
