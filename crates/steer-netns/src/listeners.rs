//! The ports of the engine inside, and those outside that lead in.

use std::net::IpAddr;

use steer_core::address::{Family, Protocol};
use steer_core::intent::{Dns, Intent};
use steer_core::method::Method;
use steer_core::object::{Binding, Listener};
use steer_core::policy::App;
use steer_core::symbol::{ListenerId, PortRef};

/// What a port of the engine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// What goes out.
    Outbound,
    /// DNS, wherever it goes.
    Dns,
}

impl Entry {
    /// The ports for an intent.
    pub(crate) fn of(intent: &Intent) -> Vec<Self> {
        match intent.traffic.dns {
            Some(Dns::Capture) => vec![Self::Outbound, Self::Dns],
            Some(Dns::Leave) | None => vec![Self::Outbound],
        }
    }

    /// The port for one protocol, as rules name it.
    pub(crate) fn port(self, protocol: Protocol) -> PortRef {
        PortRef::Listener(self.id(protocol))
    }

    /// The listener for one protocol.
    pub(crate) fn listener(
        self,
        protocol: Protocol,
        intent: &Intent,
        families: &[Family],
    ) -> Listener {
        let loopback: Vec<IpAddr> = families.iter().map(|family| family.loopback()).collect();
        let (port, app) = match self {
            Self::Outbound => (intent.listen.outbound, None),
            Self::Dns => (intent.listen.dns, Some(App::Dns)),
        };
        Listener {
            id: self.id(protocol),
            method: Method::Netns,
            protocol,
            addresses: loopback,
            port,
            to: None,
            binding: Binding::Transparent,
            app,
        }
    }

    fn id(self, protocol: Protocol) -> ListenerId {
        let name = match self {
            Self::Outbound => "outbound",
            Self::Dns => "dns",
        };
        ListenerId(match protocol {
            Protocol::Tcp => name.to_owned(),
            Protocol::Udp => format!("{name}-udp"),
        })
    }
}
