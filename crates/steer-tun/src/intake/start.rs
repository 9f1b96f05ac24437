//! The path of a plan's devices.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use steer_core::address::Family;
use steer_core::intent::{Dial, Echo, Intent};
use steer_core::method::Method;
use steer_core::netns;
use steer_core::object::{Layer, device_address};
use steer_core::plan::Netns;
use steer_core::steered::Steered;
use tokio::sync::mpsc;

use super::ports::{MTU, Ports};
use crate::flows::Flows;
use crate::icmp::{Forward, RawSockets};
use crate::path::{Own, Path, Running, Setup};
use crate::segment::{self, HOST_GATEWAY, LINK_LOCAL, Segment};

/// Reads the devices from here on.
pub(super) fn start(
    intent: &Intent,
    method: Method,
    place: &Netns,
    ports: &Ports,
    flows: &Arc<Flows>,
    datagrams_tx: mpsc::Sender<Steered>,
) -> io::Result<Running> {
    let layer = ports.to_clients().layer();
    let echo = echo(intent);
    let sockets = match echo {
        Echo::Forward => Some(pings(intent, place)?),
        Echo::Answer | Echo::Refuse => None,
    };
    let setup = Setup {
        method,
        flows: Arc::clone(flows),
        new_flows: datagrams_tx,
        outer: Arc::clone(ports.to_clients()) as _,
        inner: Arc::clone(ports.to_kernel()) as _,
        here: here(intent, layer),
        echo,
    };
    // A bridge is an interface of this host, too, whatever its routes say.
    let own = intent.link.bridge.as_ref().map(|_| Own::of(place));
    let own = own.transpose()?;
    let mut failed = Ok(());
    let path = Path::new(setup, |out| {
        let forward = Forward::start(sockets?, Arc::clone(out));
        forward.map_err(|error| failed = Err(error)).ok()
    });
    failed?;
    let path = match own {
        Some(own) => path.apart_from(own),
        None => path,
    };
    let segment = match layer {
        Layer::Ip => None,
        Layer::Ethernet => Some(Arc::new(Segment::new(&link(intent)))),
    };
    path.start(ports.lanes(), segment.as_ref())
}

/// What becomes of echo requests: what others lead here, they expect to be answered by whom they ask.
fn echo(intent: &Intent) -> Echo {
    let unwritten = match intent.link.chooses() {
        true => Echo::Forward,
        false => Echo::Refuse,
    };
    intent.link.echo.unwrap_or(unwritten)
}

/// Sockets that ping where the engine dials.
fn pings(intent: &Intent, place: &Netns) -> io::Result<RawSockets> {
    let place = match intent.dial {
        Some(Dial::Outside) => &Netns::Here,
        Some(_) | None => place,
    };
    netns::within(netns::open(place)?, || RawSockets::open(intent.bypass))?
}

/// The engine's addresses on the link of the clients: none that this host has, which would not take a
/// packet from itself.
fn here(intent: &Intent, layer: Layer) -> Vec<IpAddr> {
    let written = &intent.link.gateway;
    let mut here: Vec<IpAddr> = written.iter().map(|(ip, _)| *ip).collect();
    if written.is_empty() {
        here.push(HOST_GATEWAY.into());
        here.push(HOP_V6.into());
    }
    if layer == Layer::Ethernet {
        here.push(LINK_LOCAL.into());
    }
    here
}

/// The link of a device that has one.
fn link(intent: &Intent) -> segment::Setup {
    let written = &intent.link;
    let mtu = written.mtu.unwrap_or(MTU);
    if written.gateway.is_empty() {
        return segment::Setup::of_host(mtu);
    }
    segment::Setup {
        gateways: written.gateway.clone(),
        mtu,
        dhcp: written.dhcp,
        advertise: written.advertise,
        resolvers: match written.dhcp || written.advertise {
            true => resolvers(),
            false => Vec::new(),
        },
    }
}

/// The resolvers that stations can ask: those that this host is told, but for its own.
fn resolvers() -> Vec<IpAddr> {
    let all = steer_kernel::host::observe().resolvers;
    all.into_iter().filter(|ip| !ip.is_loopback()).collect()
}

/// The device's second address of IPv6, beside [`HOST_GATEWAY`].
const HOP_V6: Ipv6Addr = {
    let IpAddr::V6(own) = device_address(Family::V6) else {
        panic!("an address of IPv6");
    };
    Ipv6Addr::from_bits(own.to_bits() + 1)
};
