//! Telling protocols apart by the first byte of a connection.

/// What a client seems to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// SOCKS4, with or without names.
    Socks4,
    /// HTTP/1, or text that HTTP's error message can answer.
    Http,
    /// Nothing that could be answered: TLS, for instance.
    Unknown,
}

impl Speech {
    /// What begins with this byte.
    pub(crate) const fn of(first: u8) -> Self {
        match first {
            0x05 => Self::Socks5,
            0x04 => Self::Socks4,
            b'\r' | b'\n' | b' '..=b'~' => Self::Http,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_meaning() {
        let count = |speech| (0..=u8::MAX).filter(|b| Speech::of(*b) == speech).count();
        assert_eq!(count(Speech::Socks5), 1);
        assert_eq!(count(Speech::Socks4), 1);
        assert_eq!(count(Speech::Http), 97);
        assert_eq!(Speech::of(0x16), Speech::Unknown, "a TLS record");
        assert_eq!(Speech::of(b'C'), Speech::Http);
    }
}
