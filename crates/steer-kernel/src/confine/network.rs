//! The network inside: `lo`, on which every address is this host's.

use std::fs;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;
use nix::unistd::getegid;
use steer_core::address::Family;
use steer_core::object::ROUTE_PROTOCOL;

use crate::netlink::message::Body;
use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, Netlink, Refused};
use crate::netns;

/// What could not be done in the network of the namespaces.
#[derive(Debug, thiserror::Error)]
#[error("could not {what}")]
pub(super) struct NetworkError {
    pub(super) what: String,
    pub(super) source: io::Error,
}

/// Sets `lo` up, gives it these addresses, and brings everything of their families to it.
///
/// The route is in the table `main`: in the table `local` it would make a program's bind(2) to any
/// address succeed.
pub(super) fn furnish(addresses: &[IpAddr]) -> Result<(), NetworkError> {
    let failed = |what: String| {
        move |refused: Refused| NetworkError {
            what,
            source: refused.into(),
        }
    };
    netns::loopback_up().map_err(|source| NetworkError {
        what: "set lo up".to_owned(),
        source,
    })?;
    let mut socket = Netlink::open(SockProtocol::NetlinkRoute)
        .map_err(|errno| failed("open netlink".to_owned())(errno.into()))?;
    for address in addresses {
        match give(&mut socket, *address) {
            // A kernel without the family has nothing of it to be brought anywhere.
            Err(refused) if is_unknown(&refused) => continue,
            done => done.map_err(failed(format!("give lo the address {address}")))?,
        }
        let route = local_default(*address);
        socket
            .command(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route)
            .map_err(failed(format!("route everything to {address}")))?;
    }
    Ok(())
}

/// Settings of a network that programs notice; a new one has the kernel's own.
#[derive(Debug, Default)]
pub(super) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Those of this process's network.
    pub(super) fn read() -> Self {
        let all = KEPT.into_iter();
        let kept = all.filter_map(|name| Some((name, fs::read_to_string(path(name)).ok()?)));
        Self(kept.chain(pings()).collect())
    }

    /// Gives them to this process's network, as far as a container lets them be changed.
    pub(super) fn write(&self) {
        let Self(all) = self;
        for (name, value) in all {
            if let Err(error) = fs::write(path(name), value) {
                tracing::debug!(%error, name, "a setting of the network is the kernel's own");
            }
        }
        // Every connection inside ends at this host: nothing is lost on the way, and a paced
        // control (BBR) is several times slower there.
        if let Err(error) = fs::write(path("ipv4/tcp_congestion_control"), "reno") {
            tracing::debug!(%error, "connections inside have the host's congestion control");
        }
    }
}

/// Whether the user may ping without privilege: of the groups that may, his own exists inside for sure.
fn pings() -> Option<(&'static str, String)> {
    const NAME: &str = "ipv4/ping_group_range";
    let range = fs::read_to_string(path(NAME)).ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let own = getegid().as_raw();
    (first..=last)
        .contains(&own)
        .then(|| (NAME, format!("{own} {own}")))
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}

fn give(socket: &mut Netlink, address: IpAddr) -> Result<(), Refused> {
    let exclusive = NLM_F_CREATE | NLM_F_EXCL;
    let request = host_address(address);
    let done = socket.command(libc::RTM_NEWADDR, exclusive, &request);
    match done {
        // Namespaces start with the family switched off where `devconf_inherit_init_net` says so.
        Err(refused)
            if address.is_ipv6()
                && refused.errno() == Some(Errno::EACCES)
                && fs::write(IPV6_OFF, "0").is_ok() =>
        {
            socket.command(libc::RTM_NEWADDR, exclusive, &request)
        }
        done => done,
    }
}

fn is_unknown(refused: &Refused) -> bool {
    matches!(
        refused.errno(),
        Some(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EPFNOSUPPORT)
    )
}

/// A `struct ifaddrmsg` (rtnetlink(7)) and the address.
fn host_address(address: IpAddr) -> Body {
    let (family, bytes) = raw(address);
    let bits = Family::of(address).bits();
    let mut header = [family, bits, libc::IFA_F_NODAD as u8, RT_SCOPE_UNIVERSE].to_vec();
    header.extend(LOOPBACK.to_ne_bytes());
    Body::new(&header)
        .attr(libc::IFA_LOCAL, &bytes)
        .attr(libc::IFA_ADDRESS, &bytes)
}

/// A `struct rtmsg`: family, two prefix lengths, tos, table, protocol, scope, type, flags.
fn local_default(source: IpAddr) -> Body {
    let (family, bytes) = raw(source);
    let scope = match Family::of(source) {
        Family::V4 => RT_SCOPE_HOST,
        // Of no meaning to IPv6.
        Family::V6 => RT_SCOPE_UNIVERSE,
    };
    let mut header = [0; 12];
    header[0] = family;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = ROUTE_PROTOCOL;
    header[6] = scope;
    header[7] = libc::RTN_LOCAL;
    Body::new(&header)
        .number(libc::RTA_OIF, LOOPBACK)
        .attr(libc::RTA_PREFSRC, &bytes)
}

fn raw(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    }
}

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
/// The index of `lo`, in every namespace.
const LOOPBACK: u32 = 1;
const RT_SCOPE_UNIVERSE: u8 = libc::RT_SCOPE_UNIVERSE;
const RT_SCOPE_HOST: u8 = libc::RT_SCOPE_HOST;
const IPV6_OFF: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
/// What a program may listen on, what it gets where it asks for any port, and how many wait.
const KEPT: [&str; 5] = [
    "core/somaxconn",
    "ipv4/ip_local_port_range",
    "ipv4/ip_local_reserved_ports",
    "ipv4/ip_unprivileged_port_start",
    "ipv6/bindv6only",
];
