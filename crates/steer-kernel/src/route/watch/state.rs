//! What is the matter with what is expected, as the kernel tells it when it is asked.

use std::collections::BTreeSet;

use nix::libc;
use steer_core::address::Family;
use steer_core::object::{Device, Leads, Object, PolicyRule};

use super::super::rule::{self, Seen};
use super::super::{RTM_GETRULE, entry, list, ours};
use super::noticed::Noticed;
use crate::device::link::{self, Link};
use crate::netlink::message::Message;
use crate::netlink::{Netlink, Refused};

/// Everything that is the matter.
pub(super) fn look(
    socket: &mut Netlink,
    expected: &[Object],
) -> Result<BTreeSet<Noticed>, Refused> {
    let mut found = BTreeSet::new();
    let mut useless = BTreeSet::new();
    for device in expected.iter().filter_map(device) {
        if let Some(noticed) = matter(socket, device)? {
            useless.extend(Family::ALL.map(|family| (device.name.as_str(), family)));
            found.insert(noticed);
            continue;
        }
        let Some(link) = link::find(socket, &device.name)? else {
            continue;
        };
        if is_too_narrow(&link, device) {
            useless.insert((device.name.as_str(), Family::V6));
            found.insert(Noticed::DeviceNarrow {
                name: device.name.clone(),
                mtu: link.mtu,
                wanted: device.mtu,
            });
        }
        let addresses = link::addresses(socket, link.index)?;
        let lost = device
            .addresses
            .iter()
            .filter(|(ip, _)| !useless.contains(&(device.name.as_str(), Family::of(*ip))))
            .filter(|(ip, _)| !addresses.contains(ip));
        found.extend(lost.map(|(address, _)| Noticed::AddressGone {
            name: device.name.clone(),
            address: *address,
        }));
    }
    let standing = ours(socket)?;
    // With the device its routes go.
    let needs = |object: &Object| match object {
        Object::Route(route) => match &route.to {
            Leads::Device { name, .. } => !useless.contains(&(name.as_str(), route.family)),
            Leads::Here | Leads::Nowhere => true,
        },
        Object::Rule(_) => true,
        _ => false,
    };
    let missing = |object: &&Object| !standing.iter().any(|(one, _)| one == *object);
    let gone = expected.iter().filter(|o| needs(o)).filter(missing);
    found.extend(gone.map(|object| Noticed::Gone {
        what: object.to_string(),
    }));
    for family in Family::ALL {
        let rules = expected.iter().filter_map(own_rule);
        let ours: Vec<&PolicyRule> = rules.filter(|rule| rule.family == family).collect();
        if ours.is_empty() {
            continue;
        }
        let rules = list(socket, RTM_GETRULE, &rule::all(family), rule::read)?;
        let before = rules
            .iter()
            .filter(|r| ours.iter().any(|own| r.is_before(own)));
        found.extend(before.map(|seen: &Seen| Noticed::RuleBefore {
            family,
            rule: seen.to_string(),
        }));
    }
    Ok(found)
}

/// Whether a message can be about something that is expected.
pub(super) fn is_about(message: Message<'_>, expected: &[Object]) -> bool {
    match message.kind {
        libc::RTM_NEWRULE | libc::RTM_DELRULE | libc::RTM_NEWADDR | libc::RTM_DELADDR => true,
        libc::RTM_NEWLINK | libc::RTM_DELLINK => link::read(message).is_some_and(|link| {
            // A renamed one says what it is.
            let mut devices = expected.iter().filter_map(device);
            devices.any(|device| device.name == link.name || is(&link, device))
        }),
        // What is there again can be missed again.
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            entry::read(message).is_some_and(|route| route.has_our_number())
        }
        _ => false,
    }
}

/// The device among those that are expected that a message shows in a state in which the kernel
/// takes routes and addresses from it.
pub(super) fn lapses(message: Message<'_>, expected: &[Object]) -> Option<String> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let link = link::read(message)?;
    let device = expected.iter().filter_map(device).find(|d| is(&link, d))?;
    let lapses = !link.up || is_too_narrow(&link, device);
    lapses.then(|| device.name.clone())
}

/// Whether the kernel has no IPv6 at a device because of its MTU (RFC 8200, 5).
fn is_too_narrow(link: &Link, device: &Device) -> bool {
    let has_v6 = device.addresses.iter().any(|(ip, _)| ip.is_ipv6());
    has_v6 && link.mtu < MIN_V6
}

/// What is the matter with a device as a whole.
fn matter(socket: &mut Netlink, device: &Device) -> Result<Option<Noticed>, Refused> {
    let name = device.name.clone();
    Ok(match link::find(socket, &name)? {
        Some(link) if !is(&link, device) => Some(Noticed::DeviceGone { name }),
        Some(link) if !link.up => Some(Noticed::DeviceDown { name }),
        Some(_) => None,
        None => {
            let links = link::all(socket)?;
            match links.into_iter().find(|link| is(link, device)) {
                Some(link) => {
                    let now = link.name;
                    Some(Noticed::DeviceRenamed { name, now })
                }
                None => Some(Noticed::DeviceGone { name }),
            }
        }
    })
}

/// Whether an interface is an instance's device, whatever it is called by now.
fn is(link: &Link, device: &Device) -> bool {
    // A TAP device has a TUN device of the same instance behind it.
    let of_layer = link.layer == Some(device.layer);
    let owner = link.owner().filter(|_| of_layer);
    owner.is_some_and(|instance| Device::name_of(&instance, device.layer) == device.name)
}

fn own_rule(object: &Object) -> Option<&PolicyRule> {
    match object {
        Object::Rule(rule) => Some(rule),
        _ => None,
    }
}

fn device(object: &Object) -> Option<&Device> {
    match object {
        Object::Device(device) => Some(device),
        _ => None,
    }
}

const MIN_V6: u32 = 1280;
