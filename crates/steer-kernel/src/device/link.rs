//! Network interfaces as netlink says them (`struct ifinfomsg`, rtnetlink(7)).

use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;
use steer_core::instance::Instance;
use steer_core::object::Layer;

use crate::netlink::message::{Body, Message, attrs, number, text};
use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, Netlink, Refused};

/// An interface as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// What its maker says of it (`ip link set NAME alias`).
    pub(crate) alias: Option<String>,
    /// `tun`, `bridge` and so on; `None` for what is no virtual one.
    pub(crate) kind: Option<String>,
    /// What a TUN or TAP device carries; `None` for every other one.
    pub(crate) layer: Option<Layer>,
    /// Whether it is up.
    pub(crate) up: bool,
    /// Its longest packet.
    pub(crate) mtu: u32,
    /// Whether a device's packets have a `struct tun_pi` before them.
    pub(crate) informs: bool,
}

impl Link {
    /// Whose device it is, where it is one of ours.
    pub(crate) fn owner(&self) -> Option<Instance> {
        let name = self.alias.as_deref()?.strip_prefix(ALIAS)?;
        let is_device = self.kind.as_deref() == Some("tun");
        is_device.then(|| Instance::new(name).ok())?
    }
}

/// The interfaces of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Links(Netlink);

impl Links {
    pub(crate) fn open() -> Result<Self, Errno> {
        Netlink::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// Every interface.
    pub(crate) fn all(&mut self) -> Result<Vec<Link>, Refused> {
        all(&mut self.0)
    }

    /// The interface of a name.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Link>, Refused> {
        find(&mut self.0, name)
    }

    /// Gives an interface attributes.
    pub(super) fn set(
        &mut self,
        index: u32,
        fill: impl FnOnce(Body) -> Body,
    ) -> Result<(), Refused> {
        let body = fill(Body::new(&header(index, 0, 0)));
        self.0.command(RTM_NEWLINK, 0, &body)
    }

    /// Brings an interface up.
    pub(super) fn up(&mut self, index: u32) -> Result<(), Refused> {
        let up = Body::new(&header(index, IFF_UP, IFF_UP));
        self.0.command(RTM_NEWLINK, 0, &up)
    }

    /// Removes an interface; gone already is success.
    pub(super) fn remove(&mut self, index: u32) -> Result<(), Refused> {
        let gone = self
            .0
            .command(RTM_DELLINK, 0, &Body::new(&header(index, 0, 0)));
        match gone {
            Err(refused) if refused.errno() == Some(Errno::ENODEV) => Ok(()),
            done => done,
        }
    }

    /// Gives an interface an address that nobody is asked about first; there already is success.
    pub(super) fn add_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), Refused> {
        // A `struct ifaddrmsg`: family, length of the prefix, flags, scope, index.
        let scope = match address {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => RT_SCOPE_LINK,
            _ => 0,
        };
        let mut bytes = [af(address), prefix, IFA_F_NODAD, scope, 0, 0, 0, 0];
        bytes[4..].copy_from_slice(&index.to_ne_bytes());
        let octets = octets(address);
        let body = Body::new(&bytes)
            .attr(IFA_LOCAL, &octets)
            .attr(IFA_ADDRESS, &octets);
        let exclusive = NLM_F_CREATE | NLM_F_EXCL;
        match self.0.command(RTM_NEWADDR, exclusive, &body) {
            Err(refused) if refused.errno() == Some(Errno::EEXIST) => Ok(()),
            done => done,
        }
    }

    /// Whether what is sent to an address comes to this host.
    pub(super) fn is_local(&mut self, address: IpAddr) -> Result<bool, Refused> {
        let octets = octets(address);
        let mut rtmsg = [0; 12];
        rtmsg[0] = af(address);
        rtmsg[1] = u8::try_from(octets.len() * 8).expect("an address has 128 bits at most");
        let body = Body::new(&rtmsg).attr(RTA_DST, &octets);
        let answer = self.0.look_up(libc::RTM_GETROUTE, &body, |message| {
            message.body.get(7).copied() == Some(RTN_LOCAL)
        });
        match answer {
            Err(Refused::No { .. }) => Ok(false),
            done => done,
        }
    }
}

/// Every interface of the socket's namespace.
pub(crate) fn all(socket: &mut Netlink) -> Result<Vec<Link>, Refused> {
    socket.list(RTM_GETLINK, &Body::new(&header(0, 0, 0)), read)
}

/// The interface of a name in the socket's namespace.
pub(crate) fn find(socket: &mut Netlink, name: &str) -> Result<Option<Link>, Refused> {
    let body = Body::new(&header(0, 0, 0)).text(IFLA_IFNAME, name);
    match socket.look_up(RTM_GETLINK, &body, read) {
        Err(refused) if refused.errno() == Some(Errno::ENODEV) => Ok(None),
        done => done,
    }
}

/// The addresses of an interface.
pub(crate) fn addresses(socket: &mut Netlink, index: u32) -> Result<Vec<IpAddr>, Refused> {
    let mut header = [0; 8];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    // A kernel that does not filter lists those of every interface.
    socket.list(libc::RTM_GETADDR, &Body::new(&header), |message| {
        let of = number(message.body.get(4..8)?);
        let value = |wanted| message.attrs(8).find(|(kind, _)| *kind == wanted);
        let (_, bytes) = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS))?;
        let ip = match bytes.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        };
        (of == index).then_some(ip)
    })
}

/// An interface of a list, or of a message about a change.
pub(crate) fn read(message: Message<'_>) -> Option<Link> {
    let head = message.body.first_chunk::<HEADER>()?;
    let mut link = Link {
        index: number(&head[4..8]),
        name: String::new(),
        alias: None,
        kind: None,
        layer: None,
        mtu: 0,
        up: number(&head[8..12]) & IFF_UP != 0,
        informs: false,
    };
    for (kind, data) in message.attrs(HEADER) {
        match kind {
            IFLA_IFNAME => link.name = text(data),
            IFLA_MTU if data.len() == 4 => link.mtu = number(data),
            IFLA_IFALIAS => link.alias = Some(text(data)),
            IFLA_LINKINFO => {
                let value = |wanted| attrs(data).find(|(kind, _)| *kind == wanted);
                link.kind = value(IFLA_INFO_KIND).map(|(_, data)| text(data));
                let of_kind = value(IFLA_INFO_DATA).map_or(&[][..], |(_, data)| data);
                if link.kind.as_deref() != Some("tun") {
                    continue;
                }
                for (kind, data) in attrs(of_kind) {
                    match (kind, data) {
                        (IFLA_TUN_PI, [1]) => link.informs = true,
                        (IFLA_TUN_TYPE, [TUN]) => link.layer = Some(Layer::Ip),
                        (IFLA_TUN_TYPE, [TAP]) => link.layer = Some(Layer::Ethernet),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// A `struct ifinfomsg`: family and type, index, flags, which of them change.
fn header(index: u32, flags: u32, change: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

const fn af(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// How devices of ours begin what they say of themselves; the instance's name follows.
pub(super) const ALIAS: &str = "steer ";
const HEADER: usize = 16;
const IFF_UP: u32 = libc::IFF_UP as u32;
const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_DELLINK: u16 = libc::RTM_DELLINK;
const RTM_GETLINK: u16 = libc::RTM_GETLINK;
const RTM_NEWADDR: u16 = libc::RTM_NEWADDR;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
const RT_SCOPE_LINK: u8 = 253;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_PI: u16 = 4;
const TUN: u8 = libc::IFF_TUN as u8;
const TAP: u8 = libc::IFF_TAP as u8;
