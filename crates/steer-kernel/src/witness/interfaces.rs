//! The interfaces of a network namespace, by which alone packets could leave it.

use std::io;
use std::os::fd::OwnedFd;

use nix::libc;

use crate::netlink::Netlink;
use crate::netlink::message::{Body, text};

/// The names of the interfaces beside `lo` in the network namespace in which this netlink socket
/// (`SocketKind::Route` of `steer_core::netns`) was opened.
///
/// # Errors
/// What the kernel says.
pub fn interfaces(netlink: OwnedFd) -> io::Result<Vec<String>> {
    let mut socket = Netlink::over(netlink)?;
    let any = Body::new(&[0; IFINFOMSG]);
    let mut names = socket.list(libc::RTM_GETLINK, &any, |message| {
        let mut attrs = message.attrs(IFINFOMSG);
        attrs.find_map(|(kind, value)| (kind == libc::IFLA_IFNAME).then(|| text(value)))
    })?;
    names.retain(|name| name != "lo");
    Ok(names)
}

/// The size of `struct ifinfomsg`, rtnetlink(7).
const IFINFOMSG: usize = 16;
