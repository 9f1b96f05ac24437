//! The ports of the engine that hooks lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::{Family, Protocol};
use steer_core::intent::{Dns, Intent, Listen};
use steer_core::method::Method;
use steer_core::object::{Binding, Carries, Entrance, Listener, Object};
use steer_core::policy::App;
use steer_core::symbol::{ListenerId, PortRef};

/// What goes to ports of the engine, DNS last; nothing where another proxy takes it.
pub(super) fn outbound(intent: &Intent) -> Vec<Carries> {
    let traffic = &intent.traffic;
    if intent.listen.external.is_some() {
        return Vec::new();
    }
    let wanted = Protocol::ALL.into_iter().filter(|p| traffic.means(*p));
    let mut all: Vec<_> = wanted
        .map(|protocol| match protocol {
            Protocol::Tcp => Carries::Streams,
            Protocol::Udp => Carries::Datagrams,
        })
        .collect();
    if traffic.dns == Some(Dns::Capture) {
        all.extend(
            traffic
                .captured()
                .into_iter()
                .map(|protocol| match protocol {
                    Protocol::Tcp => Carries::DnsStreams,
                    Protocol::Udp => Carries::DnsDatagrams,
                }),
        );
    }
    all
}

/// The listeners of the ports.
pub(super) fn objects(intent: &Intent, ports: &[Carries], families: &[Family]) -> Vec<Object> {
    let addresses: Vec<IpAddr> = families.iter().map(|family| anywhere(*family)).collect();
    let listener = |carries: &Carries| {
        Object::Listener(Listener {
            id: id(*carries),
            method: Method::Ebpf,
            protocol: protocol(*carries),
            addresses: addresses.clone(),
            port: number(*carries, &intent.listen),
            to: None,
            binding: Binding::Lo,
            app: is_dns(*carries).then_some(App::Dns),
        })
    };
    ports.iter().map(listener).collect()
}

/// The engine's part where another proxy takes what is steered: it looks after the tokens.
pub(super) fn upkeep() -> Object {
    Object::Listener(Listener {
        id: ListenerId(UPKEEP.to_owned()),
        method: Method::Ebpf,
        protocol: Protocol::Tcp,
        addresses: Vec::new(),
        port: None,
        to: None,
        binding: Binding::Control,
        app: None,
    })
}

/// The ports as hooks know them.
pub(super) fn entrances(intent: &Intent, ports: &[Carries]) -> Vec<Entrance> {
    if let Some(external) = intent.listen.external {
        return vec![Entrance {
            carries: Carries::Streams,
            port: PortRef::Fixed(external.port()),
            external: Some(external),
        }];
    }
    let entrance = |carries: &Carries| Entrance {
        carries: *carries,
        port: PortRef::Listener(id(*carries)),
        external: None,
    };
    ports.iter().map(entrance).collect()
}

/// The listener of what comes in. Its connections come by the lookup alone, so that it needs no
/// address that others reach.
pub(super) fn inbound(intent: &Intent, families: &[Family]) -> Object {
    Object::Listener(Listener {
        id: ListenerId(INBOUND.to_owned()),
        method: Method::Ebpf,
        protocol: Protocol::Tcp,
        addresses: families.iter().map(|family| family.loopback()).collect(),
        port: intent.listen.inbound,
        to: None,
        binding: Binding::Own,
        app: None,
    })
}

/// The port of that listener.
pub(super) fn inbound_port() -> PortRef {
    PortRef::Listener(ListenerId(INBOUND.to_owned()))
}

const UPKEEP: &str = "upkeep";
const INBOUND: &str = "inbound";

fn id(carries: Carries) -> ListenerId {
    ListenerId(
        match carries {
            Carries::Streams => "outbound",
            Carries::Datagrams => "outbound-udp",
            Carries::DnsStreams => "dns",
            Carries::DnsDatagrams => "dns-udp",
        }
        .to_owned(),
    )
}

const fn protocol(carries: Carries) -> Protocol {
    match carries {
        Carries::Streams | Carries::DnsStreams => Protocol::Tcp,
        Carries::Datagrams | Carries::DnsDatagrams => Protocol::Udp,
    }
}

const fn is_dns(carries: Carries) -> bool {
    matches!(carries, Carries::DnsStreams | Carries::DnsDatagrams)
}

const fn number(carries: Carries, listen: &Listen) -> Option<u16> {
    if is_dns(carries) {
        listen.dns
    } else {
        listen.outbound
    }
}

/// Every address of a family.
const fn anywhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
