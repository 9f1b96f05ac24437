//! What becomes of what a program sends, by where it goes.

use std::net::SocketAddr;

use steer_core::address::{Protocol, canonical};
use steer_core::intent::{Dns, Filter, Loopback, Quic, Traffic};

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes its own way.
    Leave,
    /// To the engine.
    Steer,
    /// It is in scope and cannot be steered.
    Refuse,
}

/// Decides, for a protocol that is steered or not (`None`: neither TCP nor UDP).
pub(crate) fn verdict(traffic: &Traffic, protocol: Option<Protocol>, to: SocketAddr) -> Verdict {
    let Traffic {
        include,
        exclude,
        loopback,
        dns,
        quic,
    } = traffic;
    let to = canonical(to);
    let tcp = protocol == Some(Protocol::Tcp);
    let udp = protocol == Some(Protocol::Udp);
    // The kernel takes the unspecified address for loopback.
    let local = to.ip().is_loopback() || to.ip().is_unspecified();
    if local && !(tcp && *loopback == Some(Loopback::Steer)) {
        return Verdict::Leave;
    }
    if to.port() == DNS && (udp || tcp && *dns == Some(Dns::Leave)) {
        return Verdict::Leave;
    }
    if udp && to.port() == HTTPS && *quic == Some(Quic::Leave) {
        return Verdict::Leave;
    }
    if !is_included(include, protocol, to) || is_excluded(exclude, protocol, to) {
        return Verdict::Leave;
    }
    match tcp {
        true => Verdict::Steer,
        false => Verdict::Refuse,
    }
}

/// An empty list means all.
fn is_included(filter: &Filter, protocol: Option<Protocol>, to: SocketAddr) -> bool {
    let Filter {
        protocols,
        ports,
        cidrs,
        domains: _,
    } = filter;
    (protocols.is_empty() || protocol.is_some_and(|p| protocols.contains(&p)))
        && (ports.is_empty() || ports.iter().any(|range| range.contains(to.port())))
        && (cidrs.is_empty() || cidrs.iter().any(|net| net.contains(to.ip())))
}

/// Any of the lists suffices.
fn is_excluded(filter: &Filter, protocol: Option<Protocol>, to: SocketAddr) -> bool {
    let Filter {
        protocols,
        ports,
        cidrs,
        domains: _,
    } = filter;
    protocol.is_some_and(|p| protocols.contains(&p))
        || ports.iter().any(|range| range.contains(to.port()))
        || cidrs.iter().any(|net| net.contains(to.ip()))
}

/// Ports of RFC 1035 and RFC 9114.
const DNS: u16 = 53;
const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Option<Protocol> = Some(Protocol::Tcp);
    const UDP: Option<Protocol> = Some(Protocol::Udp);

    fn of(traffic: &Traffic, protocol: Option<Protocol>, to: &str) -> Verdict {
        verdict(traffic, protocol, to.parse().unwrap())
    }

    #[test]
    fn with_nothing_written_tcp_is_steered_and_all_but_dns_refused() {
        let traffic = Traffic::default();
        for to in [
            "203.0.113.7:53",
            "[2001:db8::1]:443",
            "[::ffff:192.0.2.1]:1",
        ] {
            assert_eq!(of(&traffic, TCP, to), Verdict::Steer);
        }
        assert_eq!(of(&traffic, UDP, "192.0.2.53:53"), Verdict::Leave);
        assert_eq!(of(&traffic, UDP, "192.0.2.53:443"), Verdict::Refuse);
        assert_eq!(of(&traffic, None, "192.0.2.53:53"), Verdict::Refuse);
    }

    #[test]
    fn loopback_is_left_alone_in_every_spelling_unless_written() {
        let mut traffic = Traffic::default();
        let local = ["127.0.0.9:80", "[::1]:80", "0.0.0.0:80", "[::]:80"];
        for to in local.into_iter().chain(["[::ffff:127.0.0.1]:80"]) {
            for protocol in [TCP, UDP, None] {
                assert_eq!(of(&traffic, protocol, to), Verdict::Leave, "{to}");
            }
        }
        traffic.loopback = Some(Loopback::Steer);
        assert_eq!(of(&traffic, TCP, "127.0.0.1:80"), Verdict::Steer);
        assert_eq!(of(&traffic, UDP, "127.0.0.1:80"), Verdict::Leave);
    }

    #[test]
    fn what_is_written_decides() {
        let mut traffic = Traffic {
            dns: Some(Dns::Leave),
            quic: Some(Quic::Leave),
            ..Traffic::default()
        };
        traffic.include.cidrs = vec!["203.0.113.0/24".parse().unwrap()];
        traffic.exclude.ports = vec!["22".parse().unwrap()];
        assert_eq!(of(&traffic, TCP, "203.0.113.7:53"), Verdict::Leave);
        assert_eq!(of(&traffic, UDP, "203.0.113.7:443"), Verdict::Leave);
        assert_eq!(of(&traffic, UDP, "203.0.113.7:444"), Verdict::Refuse);
        assert_eq!(of(&traffic, TCP, "203.0.113.7:22"), Verdict::Leave);
        assert_eq!(of(&traffic, TCP, "198.51.100.7:80"), Verdict::Leave);
        assert_eq!(of(&traffic, TCP, "[::ffff:203.0.113.7]:80"), Verdict::Steer);
        traffic.include.protocols = vec![Protocol::Tcp];
        assert_eq!(of(&traffic, UDP, "203.0.113.7:444"), Verdict::Leave);
        assert_eq!(of(&traffic, None, "203.0.113.7:0"), Verdict::Leave);
    }
}
