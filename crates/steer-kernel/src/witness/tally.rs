//! What a witness counted.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::nft::set::Count;

/// What a witness counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that were sent, wherever they went.
    pub counted: u64,
    /// What left by itself, most packets first.
    pub left: Vec<Left>,
    /// Packets that left and are in none of these: there were too many destinations.
    pub unlisted: u64,
}

/// Packets that left for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// Where they went.
    pub destination: IpAddr,
    /// The port, of protocols that have ports.
    pub port: Option<u16>,
    /// How many.
    pub packets: u64,
}

impl Tally {
    /// From what all protocols sent, what left of each, and the destinations of that.
    pub(super) fn of(counted: &[Count], left: &[Count], listed: &[Count]) -> Self {
        let sum = |counts: &[Count]| counts.iter().map(|count| count.packets).sum::<u64>();
        let mut all: Vec<_> = listed
            .iter()
            .filter_map(|count| {
                Some(Left {
                    protocol: count.protocol,
                    destination: count.destination?,
                    port: (count.port != 0).then_some(count.port),
                    packets: count.packets,
                })
            })
            .collect();
        all.sort_by_key(|left| (Reverse(left.packets), left.destination, left.port));
        Self {
            counted: sum(counted),
            unlisted: sum(left).saturating_sub(sum(listed)),
            left: all,
        }
    }
}

/// `tcp 203.0.113.7:443, 3 packets`
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            destination,
            port,
            packets,
        } = self;
        match NAMES.iter().find(|(number, _)| number == protocol) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "protocol {protocol}")?,
        }
        match port {
            Some(port) => write!(f, " {}", SocketAddr::new(*destination, *port))?,
            None => write!(f, " {destination}")?,
        }
        let plural = if *packets == 1 { "" } else { "s" };
        write!(f, ", {packets} packet{plural}")
    }
}

/// As /etc/protocols has them, in lower case.
const NAMES: [(u8, &str); 11] = [
    (1, "icmp"),
    (2, "igmp"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (132, "sctp"),
    (136, "udplite"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn count(protocol: u8, destination: Option<&str>, port: u16, packets: u64) -> Count {
        Count {
            protocol,
            destination: destination.map(|text| text.parse().unwrap()),
            port,
            packets,
        }
    }

    #[test]
    fn what_left_is_told_by_protocol_destination_and_number() {
        let listed = [
            count(17, Some("192.0.2.1"), 53, 1),
            count(6, Some("2001:db8::1"), 443, 3),
            count(58, Some("2001:db8::1"), 0, 2),
            count(89, Some("192.0.2.9"), 0, 1),
        ];
        let sent = [count(6, None, 0, 10), count(17, None, 0, 5)];
        let tally = Tally::of(&sent, &[count(6, None, 0, 7)], &listed);
        let told: Vec<_> = tally.left.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "tcp [2001:db8::1]:443, 3 packets",
                "icmpv6 2001:db8::1, 2 packets",
                "udp 192.0.2.1:53, 1 packet",
                "protocol 89 192.0.2.9, 1 packet",
            ]
        );
        assert_eq!((tally.counted, tally.unlisted), (15, 0));
    }

    #[test]
    fn what_no_set_had_room_for_is_counted_all_the_same() {
        let tally = Tally::of(
            &[count(6, None, 0, 9)],
            &[count(6, None, 0, 7)],
            &[count(6, Some("192.0.2.1"), 1, 4)],
        );
        assert_eq!(tally.unlisted, 3);
    }
}
