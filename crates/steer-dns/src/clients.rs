//! Who counts as one client.

use std::net::IpAddr;

use steer_core::intent::Intent;

/// How clients are told apart.
///
/// A program asks 127.0.0.53 from 127.0.0.1 and then dials from 192.0.2.1, so the addresses of
/// one host must count as one client. The scope tells whether all are on one host; only traffic
/// that comes in from others is told apart by address, and such a client has the address that it
/// asked from when it dials. One that asks over IPv6 and dials over IPv4 counts as two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// All are programs of one host or namespace.
    OneHost,
    /// Each address is another host, but for loopback, which is this one.
    ByAddress,
}

/// One client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Client {
    /// This host.
    Here,
    /// Whoever has this address.
    At(IpAddr),
}

impl Clients {
    pub(crate) fn of(intent: &Intent) -> Self {
        let scope = &intent.scope.of;
        if scope.interface.is_empty() && !scope.inbound {
            Self::OneHost
        } else {
            Self::ByAddress
        }
    }

    pub(crate) fn client(self, address: IpAddr) -> Client {
        let address = address.to_canonical();
        match self {
            Self::OneHost => Client::Here,
            Self::ByAddress if address.is_loopback() => Client::Here,
            Self::ByAddress => Client::At(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use steer_core::instance::Instance;
    use steer_core::intent::Scope;

    use super::*;

    #[test]
    fn forwarded_clients_are_told_apart_and_programs_of_this_host_are_not() {
        let [loopback, own, other] =
            ["127.0.0.1", "192.0.2.1", "::ffff:192.0.2.2"].map(|a| a.parse::<IpAddr>().unwrap());
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        let clients = Clients::of(&intent);
        assert_eq!(clients.client(loopback), clients.client(own));
        intent.scope = Scope::default();
        intent.scope.of.interface = vec!["eth1".to_owned()];
        let clients = Clients::of(&intent);
        assert_eq!(clients.client(loopback), Client::Here);
        assert_eq!(clients.client(own), Client::At(own));
        assert_eq!(clients.client(other), Client::At(other.to_canonical()));
    }
}
