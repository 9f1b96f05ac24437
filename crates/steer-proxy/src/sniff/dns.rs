//! DNS queries (RFC 1035, section 4.1.1), where they are expected.
use steer_core::policy::App;

use super::{Sniffed, Verdict};

/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// Whether a datagram to the port of DNS is a query: that direction, and one question.
pub(super) fn inspect(datagram: &[u8]) -> Verdict {
    match datagram {
        [_, _, flags, _, 0, 1, _, _, _, _, _, _, _, ..] if flags & 0x80 == 0 => {
            Verdict::Found(Sniffed::only(App::Dns))
        }
        _ => Verdict::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_from_an_answer_and_from_noise() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        assert_eq!(inspect(query), Verdict::Found(Sniffed::only(App::Dns)));
        let mut answer = *query;
        answer[2] |= 0x80;
        assert_eq!(inspect(&answer), Verdict::Opaque);
        assert_eq!(inspect(&query[..12]), Verdict::Opaque);
        assert_eq!(inspect(b""), Verdict::Opaque);
    }
}
