//! Which connections of the command are meant.

use std::net::SocketAddr;

use steer_core::address::Protocol;
use steer_core::intent::{Filter, Traffic};

/// Which connections of the command are meant.
#[derive(Clone, Debug)]
pub(crate) struct Scope(Traffic);

impl Scope {
    pub(crate) fn of(traffic: &Traffic) -> Self {
        Self(traffic.clone())
    }

    /// Whether a connection goes where the program wants it, past the engine.
    pub(crate) fn leaves(&self, to: SocketAddr) -> bool {
        let Traffic {
            include, exclude, ..
        } = &self.0;
        !(has(&include.protocols, |p| *p == Protocol::Tcp)
            && has(&include.ports, |ports| ports.contains(to.port()))
            && has(&include.cidrs, |net| net.contains(to.ip())))
            || names(exclude, to)
    }
}

/// Whether an empty list, or one of a list.
fn has<T>(list: &[T], is: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(is)
}

/// Whether a key of the filter names the destination.
fn names(filter: &Filter, to: SocketAddr) -> bool {
    filter.protocols.contains(&Protocol::Tcp)
        || filter.ports.iter().any(|ports| ports.contains(to.port()))
        || filter.cidrs.iter().any(|net| net.contains(to.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(traffic: &Traffic, to: &str) -> bool {
        Scope::of(traffic).leaves(to.parse().unwrap())
    }

    #[test]
    fn where_nothing_is_written_everything_is_meant() {
        assert!(!leaves(&Traffic::default(), "203.0.113.7:443"));
        assert!(!leaves(&Traffic::default(), "[2001:db8::1]:22"));
    }

    #[test]
    fn what_is_included_is_meant_unless_it_is_excluded() {
        let mut traffic = Traffic::default();
        traffic.include.ports = vec!["80".parse().unwrap(), "443".parse().unwrap()];
        traffic.include.cidrs = vec!["203.0.113.0/24".parse().unwrap()];
        traffic.exclude.cidrs = vec!["203.0.113.128/25".parse().unwrap()];
        assert!(!leaves(&traffic, "203.0.113.7:443"));
        assert!(leaves(&traffic, "203.0.113.7:22"));
        assert!(leaves(&traffic, "198.51.100.7:443"));
        assert!(leaves(&traffic, "203.0.113.200:443"));
    }
}
