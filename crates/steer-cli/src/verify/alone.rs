//! What a config leaves alone, told by protocol, address and port.

use steer::core::address::Protocol;
use steer::core::intent::{Dns, Filter, Quic, Traffic};
use steer::kernel::witness::Left;

/// The key that leaves packets alone, if one does.
///
/// Only TCP and UDP have keys: whatever else leaves was neither steered nor meant to go.
pub(crate) fn by(traffic: &Traffic, left: &Left) -> Option<&'static str> {
    let Traffic {
        include,
        exclude,
        loopback: _,
        dns,
        quic,
    } = traffic;
    let protocol = match left.protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let Filter {
        protocols,
        ports,
        cidrs,
        domains: _,
    } = exclude;
    let port = left.port.unwrap_or_default();
    let within = |cidrs: &[steer::core::address::Cidr]| {
        cidrs.iter().any(|cidr| cidr.contains(left.destination))
    };
    let reasons = [
        (within(cidrs), "traffic.exclude.cidrs"),
        (
            ports.iter().any(|range| range.contains(port)),
            "traffic.exclude.ports",
        ),
        (
            port == 53 && *dns != Some(Dns::Capture),
            "traffic.dns: leave",
        ),
        (protocols.contains(&protocol), "traffic.exclude.protocols"),
        (
            port == 443 && protocol == Protocol::Udp && *quic == Some(Quic::Leave),
            "traffic.quic: leave",
        ),
        (
            !include.protocols.is_empty() && !include.protocols.contains(&protocol),
            "traffic.include.protocols",
        ),
        (
            !include.ports.is_empty() && !include.ports.iter().any(|range| range.contains(port)),
            "traffic.include.ports",
        ),
        (
            !include.cidrs.is_empty() && !within(&include.cidrs),
            "traffic.include.cidrs",
        ),
    ];
    // Port 53 has its own key: while it is captured, only exclusion leaves it alone.
    let captured = port == 53 && *dns == Some(Dns::Capture);
    let mut reasons = reasons.into_iter().take(if captured { 4 } else { 8 });
    reasons.find_map(|(holds, key)| holds.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(protocol: u8, at: &str) -> Left {
        let at: std::net::SocketAddr = at.parse().unwrap();
        Left {
            protocol,
            destination: at.ip(),
            port: Some(at.port()),
            packets: 1,
        }
    }

    #[test]
    fn by_itself_a_config_leaves_port_53_alone_and_nothing_else() {
        let traffic = Traffic::default();
        let key = |protocol, at| by(&traffic, &left(protocol, at));
        assert_eq!(key(17, "192.0.2.1:53"), Some("traffic.dns: leave"));
        assert_eq!(key(6, "[2001:db8::1]:53"), Some("traffic.dns: leave"));
        assert_eq!(key(17, "192.0.2.1:443"), None);
        assert_eq!(key(6, "192.0.2.1:443"), None);
        // A protocol of its own that happens to have a port 53.
        assert_eq!(key(132, "192.0.2.1:53"), None);
    }

    #[test]
    fn what_is_excluded_or_not_included_is_left_alone_by_its_key() {
        let mut traffic = Traffic {
            dns: Some(Dns::Capture),
            quic: Some(Quic::Leave),
            ..Traffic::default()
        };
        traffic.include.protocols = vec![Protocol::Tcp];
        traffic.include.ports = vec!["80-90".parse().unwrap()];
        traffic.exclude.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        let key = |protocol, at| by(&traffic, &left(protocol, at));
        assert_eq!(key(6, "192.0.2.1:80"), None);
        assert_eq!(key(6, "10.1.2.3:80"), Some("traffic.exclude.cidrs"));
        assert_eq!(key(6, "192.0.2.1:91"), Some("traffic.include.ports"));
        assert_eq!(key(17, "192.0.2.1:80"), Some("traffic.include.protocols"));
        assert_eq!(key(17, "192.0.2.1:443"), Some("traffic.quic: leave"));
        // Captured, whatever ports are included.
        assert_eq!(key(17, "192.0.2.1:53"), None);
    }
}
