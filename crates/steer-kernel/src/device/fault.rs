//! Why a device could not be made or removed, and what to do about it.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use steer_core::driver::DriverError;
use steer_core::object::Domain;
use steer_core::plan::Netns;

use super::queues::PATH;
use crate::netlink::Refused;

/// Why the driver did not do its work on a device.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{PATH} could not be opened: {}", io::Error::from(*.0))]
    Open(Errno),
    #[error("the kernel did not make it: {}", io::Error::from(*.0))]
    Create(Errno),
    #[error("another program has an interface of that name")]
    Taken,
    #[error("another program removed it, and nothing is steered by it any more")]
    Lost,
    #[error("another program renamed it to {0}")]
    Renamed(String),
    #[error("there is no bridge of that name")]
    NoBridge,
    #[error("it could not be marked as ours")]
    Describe(#[source] Refused),
    #[error("its MTU was refused")]
    Mtu(#[source] Refused),
    #[error("its settings were refused")]
    Settings(#[source] Refused),
    #[error("it could not become a port of the bridge")]
    Port(#[source] Refused),
    #[error("it could not be brought up")]
    Up(#[source] Refused),
    #[error("IPv6 is switched off")]
    NoV6(#[source] Refused),
    #[error("its address {address} was refused")]
    Address {
        address: IpAddr,
        #[source]
        refused: Refused,
    },
    #[error("its address {0} receives nothing")]
    Unusable(IpAddr),
    #[error("the interfaces could not be asked for")]
    Look(#[from] Refused),
    #[error("no netlink socket: {}", io::Error::from(*.0))]
    Socket(#[from] Errno),
}

impl Fault {
    /// What could not be done, for people: `make device tun-main`.
    pub(super) fn explain(self, what: &str, name: &str, netns: &Netns) -> DriverError {
        let keep = format!("keep device {name}");
        let what = match &self {
            Self::Lost | Self::Renamed(_) => &keep,
            _ => what,
        };
        let place = match netns {
            Netns::Path(path) => format!(" in {path}"),
            _ => String::new(),
        };
        let help = self.help(name, netns);
        let text = format!("could not {what}{place}: {self}");
        DriverError::new(Domain::Device, text, help).because(self)
    }

    fn help(&self, name: &str, netns: &Netns) -> String {
        let entering = match netns {
            Netns::Path(path) => format!("nsenter --net={path} "),
            _ => String::new(),
        };
        match self {
            Self::Open(errno) => open_help(*errno).to_owned(),
            Self::Create(Errno::EPERM) => CAPABLE.to_owned(),
            Self::Create(Errno::EBUSY) | Self::Taken => format!(
                "see {entering}ip -d link show dev {name}; remove it, or choose another instance name"
            ),
            Self::Create(_) => {
                "the kernel needs CONFIG_TUN, and a name of at most 15 bytes: modprobe tun"
                    .to_owned()
            }
            Self::Lost => "restart steer: a device cannot be put back while it runs".to_owned(),
            Self::Renamed(now) => {
                format!("give it its name back: {entering}ip link set {now} name {name}")
            }
            Self::NoBridge => format!("make it: {entering}ip link add BRIDGE type bridge"),
            Self::Mtu(_) => "choose device.mtu between 1280 and 65535".to_owned(),
            Self::NoV6(_) => format!(
                "switch it on for devices that are made: {entering}sysctl net.ipv6.conf.default.disable_ipv6=0"
            ),
            Self::Describe(refused)
            | Self::Settings(refused)
            | Self::Port(refused)
            | Self::Up(refused)
            | Self::Address { refused, .. }
            | Self::Look(refused) => match refused.errno() {
                Some(Errno::EPERM | Errno::EACCES) => CAPABLE.to_owned(),
                _ => format!("look at {entering}ip -d addr, and at the kernel's log"),
            },
            Self::Unusable(_) => {
                format!("see whether another interface has it: {entering}ip addr")
            }
            Self::Socket(_) => "see whether a sandbox forbids netlink sockets".to_owned(),
        }
    }
}

const fn open_help(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => {
            "make it: mkdir -p /dev/net && mknod /dev/net/tun c 10 200 && modprobe tun; in a container: --device /dev/net/tun"
        }
        Errno::EACCES | Errno::EPERM => {
            "run as root; in a container: --device /dev/net/tun --cap-add NET_ADMIN"
        }
        _ => "look at the limit of open files, and at ls -l /dev/net/tun",
    }
}

const CAPABLE: &str =
    "it needs CAP_NET_ADMIN there: run as root; in a container: --cap-add NET_ADMIN";
