//! Datagrams through a SOCKS5 proxy (RFC 1928, section 7).
use steer_core::address::Destination;

use super::address;

/// What goes before each datagram to a target.
pub(in crate::upstream) fn header(target: &Destination) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    address::write(target, &mut header);
    header
}

/// Tells which datagrams of a relay are a target's.
///
/// A relay may let anybody answer. Of a target that is a name, the address is what the first answer
/// tells; only its port is known.
#[derive(Debug)]
pub(in crate::upstream) struct Sender {
    target: Destination,
    /// Its address as the relay last wrote it, which is how it will write it again.
    written: Vec<u8>,
}

impl Sender {
    pub(in crate::upstream) fn of(target: Destination) -> Self {
        Self {
            target,
            written: Vec::new(),
        }
    }

    /// The target's part of what the relay sent; none where it is a fragment, malformed or of
    /// somebody else. Fragments may be dropped by whoever does not put them together.
    pub(in crate::upstream) fn unwrap<'a>(&mut self, datagram: &'a [u8]) -> Option<&'a [u8]> {
        let [_, _, fragment, kind, rest @ ..] = datagram else {
            return None;
        };
        if *fragment != 0 {
            return None;
        }
        if !self.written.is_empty()
            && let Some(payload) = datagram[3..].strip_prefix(self.written.as_slice())
        {
            return Some(payload);
        }
        let (from, payload) = address::read(*kind, rest)?;
        let nameless = match &from {
            Destination::Addr(from) => from.addr().ip().is_unspecified(),
            Destination::Name { .. } => false,
        };
        let is_target = nameless
            || from == self.target
            || self.target.name().is_some()
                && self.written.is_empty()
                && from.port() == self.target.port();
        if !is_target {
            return None;
        }
        self.written.clear();
        let written = datagram.len() - payload.len();
        self.written.extend_from_slice(&datagram[3..written]);
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Destination {
        text.parse().unwrap()
    }

    fn from(text: &str, payload: &[u8]) -> Vec<u8> {
        [&header(&target(text)), payload].concat()
    }

    #[test]
    fn a_header_is_as_the_rfc_draws_it() {
        assert_eq!(
            header(&target("192.0.2.1:258")),
            [0, 0, 0, 1, 192, 0, 2, 1, 1, 2]
        );
        assert_eq!(header(&target("a.b:53")), *b"\0\0\0\x03\x03a.b\0\x35");
        assert_eq!(header(&target("[::1]:1")).len(), 22);
    }

    #[test]
    fn only_the_target_is_heard() {
        let mut sender = Sender::of(target("192.0.2.1:53"));
        for round in 0..2 {
            let good = from("192.0.2.1:53", b"answer");
            assert_eq!(sender.unwrap(&good), Some(&b"answer"[..]), "{round}");
            assert_eq!(sender.unwrap(&from("192.0.2.2:53", b"x")), None);
            assert_eq!(sender.unwrap(&from("192.0.2.1:54", b"x")), None);
            assert_eq!(sender.unwrap(&from("[2001:db8::1]:53", b"x")), None);
        }
        // Some relays do not say who sent it.
        assert_eq!(sender.unwrap(&from("0.0.0.0:1", b"")), Some(&b""[..]));
    }

    #[test]
    fn the_first_answer_tells_the_address_of_a_name() {
        let mut sender = Sender::of(target("dns.example:53"));
        assert_eq!(sender.unwrap(&from("192.0.2.1:5353", b"x")), None);
        assert_eq!(sender.unwrap(&from("192.0.2.1:53", b"x")), Some(&b"x"[..]));
        assert_eq!(sender.unwrap(&from("192.0.2.1:53", b"y")), Some(&b"y"[..]));
        assert_eq!(sender.unwrap(&from("192.0.2.7:53", b"x")), None);
        assert_eq!(
            sender.unwrap(&from("dns.example:53", b"z")),
            Some(&b"z"[..])
        );
    }

    #[test]
    fn fragments_and_truncated_headers_are_dropped() {
        let mut sender = Sender::of(target("192.0.2.1:53"));
        let whole = from("192.0.2.1:53", b"x");
        for end in 0..whole.len() - 1 {
            assert_eq!(sender.unwrap(&whole[..end]), None, "{end}");
        }
        let mut fragment = whole.clone();
        fragment[2] = 1;
        assert_eq!(sender.unwrap(&fragment), None);
        assert_eq!(sender.unwrap(&whole), Some(&b"x"[..]));
        assert_eq!(sender.unwrap(&fragment), None);
    }
}
