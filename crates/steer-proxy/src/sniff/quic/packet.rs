//! Packets with a long header.
use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::Version;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Initial,
    /// Sealed with keys of an earlier connection.
    Early,
    /// Sealed with keys that nobody outside has.
    Later,
}

/// A packet whose header is readable.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    version: Version,
    /// The connection id of its destination.
    pub(super) id: &'a [u8],
    /// Where the packet number begins.
    number_at: usize,
}

impl<'a> Packet<'a> {
    /// The first packet of a datagram, and what is behind it; none where it is no long header of a
    /// version that is known here.
    pub(super) fn read(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut fields = Fields(datagram);
        let [first] = *fields.take(1)? else {
            return None;
        };
        let version = u32::from_be_bytes(fields.take(4)?.try_into().ok()?);
        // The fixed bit may be greased (RFC 9287), so it tells nothing.
        if first & LONG == 0 {
            return None;
        }
        let (version, shift) = match version {
            1 => (Version::V1, 0),
            0x6b33_43cf => (Version::V2, 1),
            _ => return None,
        };
        // Version 2 numbers the kinds from one on (RFC 9369, section 3.2).
        let kind = match (first >> 4 & 3).wrapping_sub(shift) & 3 {
            0 => Kind::Initial,
            1 => Kind::Early,
            _ => Kind::Later,
        };
        let id = fields.short()?;
        fields.short()?;
        if kind == Kind::Initial {
            let token = fields.number()?;
            fields.take(usize::try_from(token).ok()?)?;
        }
        let length = usize::try_from(fields.number()?).ok()?;
        let number_at = datagram.len() - fields.0.len();
        fields.take(length)?;
        let packet = Self {
            kind,
            version,
            id,
            number_at,
        };
        Some((packet, fields.0))
    }
}

/// An opened Initial.
pub(super) struct Initial {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Initial {
    /// Opens a client's packet with the keys of a connection id.
    pub(super) fn open(packet: &Packet<'_>, bytes: &[u8], id: &[u8]) -> Option<Self> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13()?.quic_suite()?;
        let keys = suite.keys(id, Side::Server, packet.version).remote;
        let mut bytes = bytes.to_vec();
        let (header, body) = bytes.split_at_mut(packet.number_at);
        // The sample begins where the number would end if it were as long as can be.
        let (number, rest) = body.split_at_mut_checked(4)?;
        let sample = rest.get(..keys.header.sample_len())?;
        keys.header
            .decrypt_in_place(sample, &mut header[0], number)
            .ok()?;
        let length = usize::from(header[0] & 3) + 1;
        // A client's first packets have numbers that are not cut.
        let number = number[..length]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        let from = packet.number_at + length;
        let (header, payload) = bytes.split_at_mut(from);
        let opened = keys.packet.decrypt_in_place(number, header, payload).ok()?;
        let to = from + opened.len();
        Some(Self { bytes, from, to })
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

/// The bit of a long header.
const LONG: u8 = 0x80;

/// Fields yet to be read; none where the next one does not fit.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    /// A number of variable length (RFC 9000, section 16).
    pub(super) fn number(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let bytes = self.take(1 << (first >> 6))?;
        let number = bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        Some(number & (u64::MAX >> (66 - 8 * bytes.len())))
    }

    /// A connection id.
    fn short(&mut self) -> Option<&'a [u8]> {
        let [length] = *self.take(1)? else {
            return None;
        };
        (length <= LONGEST_ID).then_some(())?;
        self.take(length.into())
    }
}

/// The longest connection id of both versions.
const LONGEST_ID: u8 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_in_the_examples_of_the_rfc() {
        for (bytes, number) in [
            (&[0x25][..], 37),
            (&[0x40, 0x25], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
        ] {
            assert_eq!(Fields(bytes).number(), Some(number));
            assert_eq!(Fields(&bytes[..bytes.len() - 1]).number(), None);
        }
    }
}
