//! Where an engine can be, with a server behind its uplink.

use std::net::IpAddr;

use lab::{Host, Lab, Packet};
use steer_core::intent::{Intent, Selector};

use crate::engine::{of, whole_host};

/// A client, the host of the engine, and a server behind the engine's uplink.
pub(crate) struct Site {
    pub(crate) client: Host,
    pub(crate) engine: Host,
    pub(crate) server: Host,
    pub(crate) intent: Intent,
    _lab: Lab,
}

impl Site {
    /// Whether it is not the engine that makes the packets.
    pub(crate) fn client_is_elsewhere(&self) -> bool {
        self.client.namespace_name() != self.engine.namespace_name()
    }
}

/// Programs of the engine's own host.
pub(crate) fn local() -> Site {
    let lab = Lab::new("leakl");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    Site {
        client: app.clone(),
        engine: app,
        server: srv,
        intent: whole_host(),
        _lab: lab,
    }
}

/// Programs of a host behind the engine's.
pub(crate) fn forwarded() -> Site {
    let lab = Lab::new("leakf");
    let (lan, gw, srv) = (lab.host("lan"), lab.router("gw"), lab.host("srv"));
    let (_, inner) = lab.link(&lan, &gw);
    lab.link(&gw, &srv);
    let intent = of(Selector {
        interface: vec![inner.name],
        ..Selector::default()
    });
    Site {
        client: lan,
        engine: gw,
        server: srv,
        intent,
        _lab: lab,
    }
}

/// Packets to an address, without those that keep a link alive.
pub(crate) fn to(address: IpAddr) -> impl Fn(&Packet) -> bool {
    const NEIGHBOURS: std::ops::RangeInclusive<u8> = 133..=137;
    move |packet| {
        let keeps_link = packet.protocol == 58
            && packet
                .payload
                .first()
                .is_some_and(|kind| NEIGHBOURS.contains(kind));
        packet.destination.ip() == address && !keeps_link
    }
}
