//! The bytes of UDP and of the ICMP errors about it.

use std::net::{IpAddr, SocketAddr};

use crate::steered::Refusal;

/// A UDP header with a datagram behind it (RFC 768), or none where it is too long for one.
pub(super) fn udp(from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(datagram.len() + UDP_HEADER).ok()?;
    let mut packet = Vec::with_capacity(usize::from(length));
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(length.to_be_bytes());
    packet.extend([0; 2]);
    packet.extend(datagram);
    let mut sum = Sum::default();
    sum.address(from.ip());
    sum.address(to.ip());
    sum.word(u16::from(UDP));
    sum.word(length);
    sum.bytes(&packet);
    // Zero says that there is no sum.
    let sum = Some(sum.finish()).filter(|sum| *sum != 0);
    packet[6..8].copy_from_slice(&sum.unwrap_or(0xffff).to_be_bytes());
    Some(packet)
}

/// An ICMP or ICMPv6 error for the sender of a datagram, which begins with `quote`: "destination
/// unreachable" (RFC 792, RFC 4443). The kernel fills in the sum of ICMPv6.
pub(super) fn unreachable(
    client: SocketAddr,
    destination: SocketAddr,
    why: Refusal,
    quote: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(quote.len() + 64);
    let length = u16::try_from(quote.len() + UDP_HEADER).ok()?;
    match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([3, code_v4(why), 0, 0, 0, 0, 0, 0]);
            let start = packet.len();
            packet.extend([0x45, 0]);
            packet.extend((length + 20).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let mut sum = Sum::default();
            sum.bytes(&packet[start..]);
            packet[start + 10..start + 12].copy_from_slice(&sum.finish().to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([1, code_v6(why), 0, 0, 0, 0, 0, 0]);
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([UDP, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => return None,
    }
    packet.extend(client.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend(length.to_be_bytes());
    // Without a sum, so that whoever translates addresses on the way has none to mend.
    packet.extend([0; 2]);
    packet.extend(quote);
    if client.is_ipv4() {
        let mut sum = Sum::default();
        sum.bytes(&packet);
        packet[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    }
    Some(packet)
}

/// The code for a reason. Of the codes for an unreachable host or network Linux tells a UDP socket
/// only the administrative ones (`icmp_err_convert` in net/ipv4/icmp.c): ENETUNREACH and
/// EHOSTUNREACH.
const fn code_v4(why: Refusal) -> u8 {
    match why {
        Refusal::Refused | Refusal::Reset => PORT_V4,
        Refusal::NetworkUnreachable => 9,
        Refusal::HostUnreachable | Refusal::TimedOut | Refusal::NoSuchHost => 10,
        _ => 13,
    }
}

/// The code for a reason. Linux tells a UDP socket only of a port (ECONNREFUSED) and of what is
/// prohibited (EACCES; `tab_unreach` in net/ipv6/icmp.c).
const fn code_v6(why: Refusal) -> u8 {
    match why {
        Refusal::Refused | Refusal::Reset => PORT_V6,
        _ => 1,
    }
}

/// The sum of RFC 1071.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn word(&mut self, word: u16) {
        self.0 += u64::from(word);
    }

    /// Bytes from an even place on.
    fn bytes(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            self.word(u16::from_be_bytes([pair[0], low]));
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(ip) => self.bytes(&ip.octets()),
            IpAddr::V6(ip) => self.bytes(&ip.octets()),
        }
    }

    fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("folded to 16 bits")
    }
}

/// The number of UDP among the protocols of IP.
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const PORT_V4: u8 = 3;
const PORT_V6: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_datagram_has_the_sum_that_its_receiver_computes() {
        for (from, to) in [
            ("192.0.2.1:53", "198.51.100.7:40000"),
            ("[2001:db8::1]:53", "[2001:db8::7]:40000"),
        ] {
            let (from, to) = (at(from), at(to));
            for datagram in [&b""[..], b"odd", b"even"] {
                let packet = udp(from, to, datagram).unwrap();
                let mut sum = Sum::default();
                sum.address(from.ip());
                sum.address(to.ip());
                sum.word(u16::from(UDP));
                sum.word(u16::try_from(packet.len()).unwrap());
                sum.bytes(&packet);
                assert_eq!(sum.finish(), 0, "the sum with its complement is nothing");
                assert_eq!(&packet[8..], datagram);
            }
        }
        let long = vec![0; 65_528];
        assert_eq!(udp(at("192.0.2.1:1"), at("192.0.2.2:2"), &long), None);
    }

    #[test]
    fn an_error_quotes_what_the_client_sent() {
        let client = at("192.0.2.1:40000");
        let destination = at("198.51.100.7:53");
        let packet = unreachable(client, destination, Refusal::Refused, b"hello").unwrap();
        assert_eq!(packet[..2], [3, 3]);
        let (mut whole, mut quoted) = (Sum::default(), Sum::default());
        whole.bytes(&packet);
        quoted.bytes(&packet[8..28]);
        assert_eq!((whole.finish(), quoted.finish()), (0, 0));
        assert_eq!(packet[20..24], [192, 0, 2, 1]);
        assert_eq!(packet[24..28], [198, 51, 100, 7]);
        assert_eq!(packet[28..30], 40000_u16.to_be_bytes());
        assert_eq!(&packet[36..], b"hello");
        let other = at("[2001:db8::1]:53");
        assert_eq!(unreachable(client, other, Refusal::Refused, b""), None);
    }
}
