//! Whether tokens can be reached in a namespace, and the route that has those of IPv6 be so.

use std::io;
use std::net::UdpSocket;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::netns::{Inside, MakeSockets as _, SocketKind, SocketWish};
use steer_core::object::{Binding, LOCAL_TABLE, Leads, Object, Route, token_net};
use steer_core::plan::Netns;
use steer_core::symbol::TableRef;
use steer_kernel::route::RouteDriver;

use crate::intake::DISCARD;

/// Whether the loopback device of the calling thread's namespace is up.
pub(super) fn is_loopback_up() -> io::Result<bool> {
    let up = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_UP;
    Ok(getifaddrs()?.any(|interface| interface.flags.contains(up)))
}

/// Whether what goes to tokens of IPv6 stays in a namespace.
pub(super) fn leads_to_tokens(netns: &Netns, bypass: Mark) -> io::Result<bool> {
    let wish = SocketWish {
        family: Family::V6,
        kind: SocketKind::Datagram,
        binding: Binding::Own,
        mark: Some(bypass),
        bind: None,
    };
    let socket = UdpSocket::from(Inside::of(netns)?.make(&wish)?);
    // A network's own address is nobody's token, and nothing is sent.
    let connected = socket.connect((token_net(Family::V6).address(), DISCARD));
    let from = connected.and_then(|()| socket.local_addr());
    Ok(from.is_ok_and(|from| from.ip().is_loopback()))
}

/// What shall be of the route of IPv6's tokens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reachable {
    Made,
    Gone,
}

/// Makes or removes the route in the namespace of the calling thread.
pub(super) fn route(instance: &Instance, wanted: Reachable) -> Result<(), DriverError> {
    let route = [Object::Route(Route {
        family: Family::V6,
        net: Some(token_net(Family::V6)),
        table: TableRef::Fixed(LOCAL_TABLE),
        to: Leads::Here,
    })];
    let (from, to): (&[_], &[_]) = match wanted {
        Reachable::Made => (&[], &route),
        Reachable::Gone => (&route, &[]),
    };
    RouteDriver::new().set(&Change {
        instance,
        netns: &Netns::Here,
        from,
        to,
    })
}
