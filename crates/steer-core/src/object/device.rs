//! Devices through which packets come to the engine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Family};
use crate::instance::Instance;

/// A TUN or TAP device (tuntap.txt of the kernel's documentation): what is routed to it is read by the
/// engine, and what the engine writes arrives by it.
///
/// It is not persistent: the kernel removes it, and every route by it, with its last descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What it carries.
    pub layer: Layer,
    /// The longest packet without the link's header, in bytes.
    pub mtu: u32,
    /// Addresses of this host at it, with the length of the network that is reached by it.
    pub addresses: Vec<(IpAddr, u8)>,
    /// How many queues it has, each with a descriptor of its own; one at least.
    pub queues: u16,
    /// The bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Whether what arrives by it may leave by another interface: `net.ipv4.conf.NAME.forwarding`.
    /// IPv6 asks the setting of all interfaces alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwards: bool,
}

/// A queue of a device as its driver calls it, for whoever reads it
/// ([`Bound::shared`](crate::intake::Bound)): `device NAME QUEUE OFFLOADS`.
///
/// ```
/// use steer_core::object::{DeviceQueue, Offloads};
///
/// let queue: DeviceQueue = "device tun-main 0 csum-tso".parse().unwrap();
/// assert_eq!((queue.name.as_str(), queue.queue), ("tun-main", 0));
/// assert!(queue.offloads >= Offloads::Checksum && queue.offloads < Offloads::Uso);
/// assert_eq!(queue.to_string(), "device tun-main 0 csum-tso");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceQueue {
    /// The device's name.
    pub name: String,
    /// Which of its queues, from 0.
    pub queue: u16,
    /// What the device leaves to whoever reads it.
    pub offloads: Offloads,
}

/// What a device leaves to whoever reads it; each has what is before it too.
///
/// All but [`Offloads::None`] put a `struct virtio_net_hdr` of 10 bytes before each packet, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offloads {
    /// Whole packets as they are on a wire, without a header.
    None,
    /// Checksums are partial (`TUN_F_CSUM`).
    Checksum,
    /// Segments of TCP are joined (`TUN_F_TSO4`, `TUN_F_TSO6`, `TUN_F_TSO_ECN`).
    Tso,
    /// Datagrams of UDP are joined (`TUN_F_USO4`, `TUN_F_USO6`; Linux 6.2).
    Uso,
}

impl Offloads {
    /// All, from the most to the least.
    pub const ALL: [Self; 4] = [Self::Uso, Self::Tso, Self::Checksum, Self::None];
}

/// A text that names no queue of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no queue of a device")]
pub struct NotAQueue(String);

impl FromStr for DeviceQueue {
    type Err = NotAQueue;

    fn from_str(label: &str) -> Result<Self, NotAQueue> {
        let read = || {
            let (name, rest) = label.strip_prefix("device ")?.split_once(' ')?;
            let (queue, offloads) = rest.split_once(' ')?;
            let mut all = Offloads::ALL.into_iter();
            Some(Self {
                name: name.to_owned(),
                queue: queue.parse().ok()?,
                offloads: all.find(|one| one.to_string() == offloads)?,
            })
        };
        read().ok_or_else(|| NotAQueue(label.to_owned()))
    }
}

impl fmt::Display for DeviceQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            queue,
            offloads,
        } = self;
        write!(f, "device {name} {queue} {offloads}")
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Checksum => "csum",
            Self::Tso => "csum-tso",
            Self::Uso => "csum-tso-uso",
        })
    }
}

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// IP packets (TUN).
    Ip,
    /// Ethernet frames (TAP).
    Ethernet,
}

impl Device {
    /// The name of an instance's device of a kind: `steer-NAME`, shortened by a hash where it would
    /// be longer than the kernel allows.
    #[must_use]
    pub fn name_of(instance: &Instance, layer: Layer) -> String {
        let prefix = match layer {
            Layer::Ip => "tun-",
            Layer::Ethernet => "tap-",
        };
        let name = instance.as_str();
        if prefix.len() + name.len() <= NAME_MOST {
            return format!("{prefix}{name}");
        }
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let start: String = name.chars().take(NAME_MOST - prefix.len() - 7).collect();
        format!("{prefix}{start}-{:06x}", hash & 0x00ff_ffff)
    }
}

/// The address of the engine's listeners at a device of ours.
///
/// IPv4 has it from the protocol assignments (RFC 6890, 192.0.0.0/24), which nobody routes.
#[must_use]
pub const fn device_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 0, 65)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd5e, 0x7ee2, 0, 0xf8e4, 0, 0, 0, 1)),
    }
}

/// The network of [`device_address`], whose other addresses stand for the clients of connections on
/// their way to the listener.
#[must_use]
pub fn device_net(family: Family) -> Cidr {
    let (address, prefix) = match family {
        Family::V4 => ("192.0.0.64", 26),
        Family::V6 => ("fd5e:7ee2:0:f8e4::", 64),
    };
    format!("{address}/{prefix}")
        .parse()
        .expect("a literal network is valid")
}

/// The longest name of a network interface (IFNAMSIZ less the closing zero).
const NAME_MOST: usize = 15;

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "tun",
            Self::Ethernet => "tap",
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            layer,
            mtu,
            addresses,
            queues,
            bridge,
            forwards,
        } = self;
        write!(f, "device {name} {layer} mtu {mtu}, {queues} queue")?;
        if *queues != 1 {
            f.write_str("s")?;
        }
        for (address, prefix) in addresses {
            write!(f, ", {address}/{prefix}")?;
        }
        if let Some(bridge) = bridge {
            write!(f, ", port of bridge {bridge}")?;
        }
        if *forwards {
            f.write_str(", forwards")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_an_instance_still_makes_a_name_that_the_kernel_takes() {
        for name in ["main", "twelve_chars", "elevenchars"] {
            let instance = Instance::new(name).unwrap();
            for layer in [Layer::Ip, Layer::Ethernet] {
                let name = Device::name_of(&instance, layer);
                assert!(name.len() <= NAME_MOST, "{name}");
            }
        }
        let one = Instance::new("twelve_char1").unwrap();
        let two = Instance::new("twelve_char2").unwrap();
        assert_ne!(
            Device::name_of(&one, Layer::Ip),
            Device::name_of(&two, Layer::Ip)
        );
    }

    #[test]
    fn a_queue_is_read_from_what_it_is_called() {
        for offloads in Offloads::ALL {
            let queue = DeviceQueue {
                name: "tun-main".to_owned(),
                queue: 3,
                offloads,
            };
            assert_eq!(queue.to_string().parse(), Ok(queue));
        }
        for label in [
            "",
            "device",
            "device a",
            "device a 0",
            "device a x none",
            "map a 0 none",
        ] {
            assert_eq!(
                label.parse::<DeviceQueue>(),
                Err(NotAQueue(label.to_owned()))
            );
        }
    }

    #[test]
    fn the_listener_s_address_is_in_the_device_s_network() {
        for family in Family::ALL {
            assert!(device_net(family).contains(device_address(family)));
        }
    }
}
