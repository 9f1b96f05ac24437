//! The devices of a plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::Family;
use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::object::{Device, Layer, Leads, Object, device_address, device_net};

use crate::segment::{HOST_GATEWAY, LINK_LOCAL};
use steer_rules::listeners;

/// The device whose far end is the engine's, and whose near end the kernel's own TCP: where the listener
/// is, and clients too where they have no other one.
pub(super) fn inner(intent: &Intent, host: &Host, forwards: bool) -> Object {
    let addresses = listeners::usable(host)
        .into_iter()
        .map(|family| (device_address(family), device_net(family).prefix()));
    Object::Device(Device {
        addresses: addresses.collect(),
        forwards,
        ..device(intent, Layer::Ip)
    })
}

/// The device with a link layer, where clients are.
///
/// As a port of a bridge it needs no address: its stations speak to the engine alone. Else this host is
/// its only station, and asks for the gateway's hardware address from one of the link. One of IPv4 is
/// needed to be heard at all: the kernel's reverse path filter, strict or loose, admits nothing from an
/// interface that has none.
pub(super) fn outer(intent: &Intent, families: &[Family], forwards: bool) -> Object {
    let bridge = intent.link.bridge.clone();
    let own = families.iter().filter(|_| bridge.is_none());
    Object::Device(Device {
        addresses: own.copied().map(station).collect(),
        bridge,
        forwards,
        ..device(intent, Layer::Ethernet)
    })
}

/// Where marked packets of a family are led to.
pub(super) fn leads(intent: &Intent, layer: Layer, family: Family) -> Leads {
    let via = match (layer, family) {
        (Layer::Ip, _) => None,
        (Layer::Ethernet, Family::V4) => Some(IpAddr::V4(HOST_GATEWAY)),
        (Layer::Ethernet, Family::V6) => Some(IpAddr::V6(LINK_LOCAL)),
    };
    Leads::Device {
        name: Device::name_of(&intent.instance, layer),
        via,
    }
}

fn device(intent: &Intent, layer: Layer) -> Device {
    Device {
        name: Device::name_of(&intent.instance, layer),
        layer,
        mtu: intent.link.mtu.unwrap_or(MTU),
        addresses: Vec::new(),
        queues: intent.link.queues.unwrap_or(QUEUES),
        bridge: None,
        forwards: false,
    }
}

/// This host's address on a link of its own, beside the gateway's, with the length of its prefix.
///
/// That of IPv4 is the one before the inner device's network, whose last one is its broadcast address.
fn station(family: Family) -> (IpAddr, u8) {
    match family {
        Family::V4 => (Ipv4Addr::new(192, 0, 0, 63).into(), 32),
        Family::V6 => (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2).into(), 64),
    }
}

/// The MTU where none is written: that of most links, so that programs see what they are used to. It
/// costs nothing where the device takes segments that are joined.
const MTU: u32 = 1500;

/// The queues where none are written: the two directions of a connection are two flows to the device,
/// and can be read by two threads.
const QUEUES: u16 = 2;
