//! A device with all that belongs to it, in the calling thread's namespace.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use steer_core::instance::Instance;
use steer_core::object::{Device, Layer};

use super::fault::Fault;
use super::link::{ALIAS, Link, Links};
use super::queues::Queues;

/// Makes a device; nothing is left of it where that fails.
pub(super) fn make(instance: &Instance, device: &Device) -> Result<Queues, Fault> {
    let mut links = Links::open()?;
    match links.find(&device.name)? {
        // Whoever made it is dead, since the instance's name is claimed, and reads it no more.
        Some(link) if is_of(&link, instance) => links.remove(link.index)?,
        Some(_) => return Err(Fault::Taken),
        None => {}
    }
    // From here on the device goes with its queues.
    let queues = Queues::create(device)?;
    fit(instance, device)?;
    Ok(queues)
}

/// Gives a device that stands whatever belongs to it; twice is once.
pub(super) fn fit(instance: &Instance, device: &Device) -> Result<(), Fault> {
    let mut links = Links::open()?;
    let link = links.find(&device.name)?.ok_or(Fault::Lost)?;
    let index = link.index;
    let master = match &device.bridge {
        Some(bridge) => Some(
            links
                .find(bridge)?
                .filter(|link| link.kind.as_deref() == Some("bridge"))
                .ok_or(Fault::NoBridge)?
                .index,
        ),
        None => None,
    };
    links
        .set(index, |body| body.text(IFLA_IFALIAS, &alias(instance)))
        .map_err(Fault::Describe)?;
    links
        .set(index, |body| body.number(IFLA_MTU, device.mtu))
        .map_err(Fault::Mtu)?;
    links
        .set(index, |body| body.number(IFLA_TXQLEN, QUEUE))
        .map_err(Fault::Describe)?;
    let has_v6 = device.addresses.iter().any(|(ip, _)| ip.is_ipv6());
    if has_v6 {
        allow_v6(&device.name);
    }
    // Addresses are those of the plan alone; a kernel without IPv6 makes none by itself.
    let quiet = links.set(index, |body| {
        body.nest(IFLA_AF_SPEC, |body| {
            body.nest(AF_INET6, |body| {
                body.attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
            })
        })
    });
    if has_v6 {
        quiet.map_err(Fault::NoV6)?;
    }
    links
        .set(index, |body| {
            body.nest(IFLA_AF_SPEC, |body| {
                body.nest(AF_INET, |body| {
                    body.nest(IFLA_INET_CONF, |body| {
                        body.number(RP_FILTER, reverse_path())
                            .number(FORWARDING, u32::from(device.forwards))
                    })
                })
            })
        })
        .map_err(Fault::Settings)?;
    if let Some(master) = master {
        links
            .set(index, |body| body.number(IFLA_MASTER, master))
            .map_err(Fault::Port)?;
    }
    links.up(index).map_err(Fault::Up)?;
    let addresses = addresses(device);
    for &(address, prefix) in &addresses {
        links
            .add_address(index, address, prefix)
            .map_err(|refused| match (address, refused.errno()) {
                // What an interface says that has no IPv6.
                (IpAddr::V6(_), Some(Errno::EACCES | Errno::EOPNOTSUPP | Errno::ENODEV)) => {
                    Fault::NoV6(refused)
                }
                _ => Fault::Address { address, refused },
            })?;
    }
    // The kernel acknowledges an address of IPv6 before it receives what is sent there.
    let deadline = Instant::now() + PATIENCE;
    for (address, _) in addresses {
        while !is_link_local(address) && !links.is_local(address)? {
            if Instant::now() > deadline {
                return Err(Fault::Unusable(address));
            }
            std::thread::sleep(TURN);
        }
    }
    Ok(())
}

/// Removes an instance's device by the name that it has; gone already is success.
pub(super) fn unmake(instance: &Instance, name: &str) -> Result<(), Fault> {
    let mut links = Links::open()?;
    match links.find(name)? {
        Some(link) if is_of(&link, instance) => Ok(links.remove(link.index)?),
        // Ours is gone, and another has the name.
        Some(_) | None => Ok(()),
    }
}

/// What the devices of an instance say of themselves.
pub(super) fn alias(instance: &Instance) -> String {
    format!("{ALIAS}{instance}")
}

fn is_of(link: &Link, instance: &Instance) -> bool {
    link.owner().as_ref() == Some(instance)
}

/// The addresses of the plan, and one of the link: a host without asks no neighbour (RFC 4861).
fn addresses(device: &Device) -> Vec<(IpAddr, u8)> {
    let mut all = device.addresses.clone();
    let asks = device.layer == Layer::Ethernet && all.iter().any(|(ip, _)| ip.is_ipv6());
    if asks && !all.iter().any(|(ip, _)| is_link_local(*ip)) {
        all.push((OWN_LINK_LOCAL, 64));
    }
    all
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// How the source of what arrives by the device is checked (`rp_filter`).
///
/// What the engine writes comes from servers that are reached by another interface, which the strict
/// check refuses. The kernel takes the greater of the device's own and that of all, and the loose
/// one is the greatest; where nothing is checked, nothing need be.
fn reverse_path() -> u32 {
    match fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter") {
        Ok(all) if all.trim() == "0" => 0,
        _ => 2,
    }
}

/// Lets a device have IPv6 where others do not by default. Where it cannot be written, the first
/// address is refused, which is told of.
fn allow_v6(name: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
        let _ = fs::write(path, "0");
    }
}

/// Beside the gateway's, `fe80::1`.
const OWN_LINK_LOCAL: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));
/// Longer than a busy machine takes for a work item.
const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(1);
const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
/// How many packets each queue has room for, eight times the kernel's own number: a reset that finds no
/// room is lost for good, and an engine that ends resets all of its connections at once. What waits is
/// bounded by the buffers of those who send.
const QUEUE: u32 = 4000;
const IFLA_MASTER: u16 = 10;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// `IPV4_DEVCONF_…` of linux/ip.h.
const FORWARDING: u16 = 1;
const RP_FILTER: u16 = 8;
