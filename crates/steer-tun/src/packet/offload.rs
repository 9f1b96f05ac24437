//! What a device says of a packet beside its bytes (`struct virtio_net_hdr` of linux/virtio_net.h).

/// What a device says of a packet, or is told: offsets count from the start of the IP packet, not of the
/// frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport's checksum is only begun: the field holds the sum of the pseudo header, and whoever
    /// sends it on completes it. Where it starts, and where the field is from there.
    pub partial: Option<(u16, u16)>,
    /// The checksum was verified by whoever took it from a wire.
    pub valid: bool,
    /// The packet stands for several.
    pub gso: Option<Gso>,
}

/// How a packet is cut into those that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Its virtio type without the ECN bit: 1 TCPv4, 4 TCPv6, 5 UDP.
    pub kind: u8,
    /// The virtio ECN bit (0x80).
    pub ecn: bool,
    /// The length of all headers, the IP one included.
    pub headers: u16,
    /// How many bytes of payload each has.
    pub size: u16,
}

impl Gso {
    /// TCP over IPv4 (`VIRTIO_NET_HDR_GSO_TCPV4`).
    pub const TCP4: u8 = 1;
    /// TCP over IPv6 (`VIRTIO_NET_HDR_GSO_TCPV6`).
    pub const TCP6: u8 = 4;
    /// UDP (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    pub const UDP: u8 = 5;
}

impl Offload {
    /// The length of the header on the descriptor.
    pub const HEADER: usize = 10;

    /// Reads the header before a frame whose link header has `link` bytes; `None` where it contradicts
    /// itself.
    #[must_use]
    pub fn read(header: &[u8; Self::HEADER], link: usize) -> Option<Self> {
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let link = u16::try_from(link).ok()?;
        let (flags, kind) = (header[0], header[1]);
        let partial = match flags & NEEDS_CSUM {
            0 => None,
            _ => Some((word(6).checked_sub(link)?, word(8))),
        };
        let gso = match kind & !ECN {
            0 => None,
            known @ (Gso::TCP4 | Gso::TCP6 | Gso::UDP) => Some(Gso {
                kind: known,
                ecn: kind & ECN != 0,
                headers: word(2).checked_sub(link)?,
                size: word(4),
            }),
            _ => return None,
        };
        if gso.is_some_and(|gso| gso.size == 0) || (gso.is_some() && partial.is_none()) {
            return None;
        }
        Some(Self {
            partial,
            valid: flags & DATA_VALID != 0,
            gso,
        })
    }

    /// The header before a frame whose link header has `link` bytes.
    #[must_use]
    pub fn bytes(&self, link: usize) -> [u8; Self::HEADER] {
        let link = u16::try_from(link).expect("a link header is short");
        let mut header = [0; Self::HEADER];
        let mut word = |at: usize, value: u16| {
            header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        };
        if let Some((start, offset)) = self.partial {
            word(6, start + link);
            word(8, offset);
        }
        if let Some(gso) = self.gso {
            word(2, gso.headers + link);
            word(4, gso.size);
            header[1] = gso.kind | if gso.ecn { ECN } else { 0 };
        }
        header[0] = match (self.partial, self.valid) {
            (Some(_), _) => NEEDS_CSUM,
            (None, true) => DATA_VALID,
            (None, false) => 0,
        };
        header
    }
}

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let offload = Offload {
            partial: Some((20, 16)),
            valid: false,
            gso: Some(Gso {
                kind: Gso::TCP4,
                ecn: true,
                headers: 52,
                size: 1448,
            }),
        };
        for link in [0, 14] {
            assert_eq!(Offload::read(&offload.bytes(link), link), Some(offload));
        }
    }

    #[test]
    fn a_header_that_contradicts_itself_is_none() {
        let mut unknown = [0; Offload::HEADER];
        unknown[1] = 3;
        assert_eq!(Offload::read(&unknown, 0), None);
        let mut no_checksum = [0; Offload::HEADER];
        no_checksum[1] = Gso::TCP4;
        no_checksum[4] = 1;
        assert_eq!(Offload::read(&no_checksum, 0), None);
        let mut within_the_link = [0; Offload::HEADER];
        within_the_link[0] = NEEDS_CSUM;
        assert_eq!(Offload::read(&within_the_link, 14), None);
    }
}
