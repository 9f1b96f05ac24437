//! What the rules are told of the requests of a connection.
use steer_core::address::{Destination, HostName, Protocol};
use steer_core::steered::Identity;

use super::super::entry::Entry;
use super::super::rules::Facts;
use crate::sniff::Sniffed;

/// What the rules are told of a connection for each of its requests.
#[derive(Debug)]
pub(in crate::engine) struct Known {
    protocol: Protocol,
    pub(in crate::engine) destination: Destination,
    pub(in crate::engine) answered: Option<HostName>,
    identity: Identity,
    sniffed: Sniffed,
}

impl Known {
    pub(in crate::engine) fn of(entry: &Entry) -> Self {
        let facts = entry.facts();
        Self {
            protocol: facts.protocol,
            destination: facts.destination.clone(),
            answered: facts.answered.cloned(),
            identity: facts.identity.clone(),
            sniffed: entry.sniffer.conclude(),
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            answered: self.answered.as_ref(),
            sniffed: Some(&self.sniffed),
            ..Facts::at_first(self.protocol, &self.destination, &self.identity)
        }
    }
}

/// The host that an authority names, without the port; none of an address.
pub(in crate::engine) fn host_of(authority: &str) -> Option<HostName> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    HostName::new(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_has_no_port_and_is_no_address() {
        for (authority, host) in [
            ("Example.com", Some("example.com")),
            ("example.com:8443", Some("example.com")),
            ("example.com.:", Some("example.com")),
            ("192.0.2.1:80", None),
            ("[2001:db8::1]:443", None),
            ("[2001:db8::1]", None),
            ("user@example.com", None),
            ("a.example:b.example", None),
            ("", None),
        ] {
            let found = host_of(authority);
            assert_eq!(found.as_ref().map(HostName::as_str), host, "{authority}");
        }
    }
}
