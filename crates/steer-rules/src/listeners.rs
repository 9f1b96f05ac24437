//! The ports of the engine that rules lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Dns, Intent, Listen};
use steer_core::method::Method;
use steer_core::object::{Binding, Listener, Object};
use steer_core::policy::App;
use steer_core::symbol::{ListenerId, PortRef};

use crate::rules::way::Way;

/// What a port of the engine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What goes out.
    Outbound,
    /// What comes in.
    Inbound,
    /// DNS, wherever it goes.
    Dns,
}

/// A port of the engine for one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// What it is for.
    pub entry: Entry,
    /// Of which protocol.
    pub protocol: Protocol,
}

impl Entry {
    const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Dns => "dns",
        }
    }

    const fn number(self, listen: &Listen) -> Option<u16> {
        match self {
            Self::Outbound => listen.outbound,
            Self::Inbound => listen.inbound,
            Self::Dns => listen.dns,
        }
    }

    const fn app(self) -> Option<App> {
        match self {
            Self::Outbound | Self::Inbound => None,
            Self::Dns => Some(App::Dns),
        }
    }
}

impl Port {
    /// The name of its listener.
    pub fn id(self) -> ListenerId {
        ListenerId(match self.protocol {
            Protocol::Tcp => self.entry.name().to_owned(),
            Protocol::Udp => format!("{}-udp", self.entry.name()),
        })
    }

    /// Its number, as far as it is known.
    pub fn symbol(self) -> PortRef {
        PortRef::Listener(self.id())
    }
}

/// The ports for an intent, DNS last; `steers` are the protocols that the method takes.
pub fn ports(intent: &Intent, way: &Way, steers: &[Protocol]) -> Vec<Port> {
    let traffic = &intent.traffic;
    let at = |entry| move |protocol| Port { entry, protocol };
    let wanted = steers.iter().copied().filter(|p| traffic.means(*p));
    let mut ports: Vec<_> = wanted.map(at(way.port())).collect();
    if traffic.dns == Some(Dns::Capture) {
        ports.extend(traffic.captured().into_iter().map(at(Entry::Dns)));
    }
    ports
}

/// The listeners of the ports.
pub fn objects(
    intent: &Intent,
    method: Method,
    ports: &[Port],
    addresses: &[IpAddr],
    binding: Binding,
) -> Vec<Object> {
    let listener = |port: &Port| {
        Object::Listener(Listener {
            id: port.id(),
            method,
            protocol: port.protocol,
            addresses: addresses.to_vec(),
            port: port.entry.number(&intent.listen),
            to: None,
            binding,
            app: port.entry.app(),
        })
    };
    ports.iter().map(listener).collect()
}

/// The families to steer: IPv4 always, IPv6 where there is an address to listen on.
pub fn usable(host: &Host) -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|f| *f == Family::V4 || host.families.contains(f))
        .collect()
}

/// The families to refuse: also one whose loopback address is missing, or comes up later.
pub fn refusable(host: &Host) -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|f| *f == Family::V4 || host.socket_families.contains(f))
        .collect()
}

/// Every address of a family.
pub const fn anywhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
