//! Network namespaces of our own.

use std::io;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::SockProtocol;

use crate::netlink::Netlink;
use crate::netlink::message::Body;

/// Moves the calling thread into a network namespace of its own with the loopback device up.
///
/// The namespace goes when the thread and every socket opened in it are gone, so call it on a
/// thread made for the purpose. Needs CAP_SYS_ADMIN.
pub fn enter_private() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()
}

/// The identity of the calling thread's network namespace, as `dev:inode`.
pub fn current() -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata("/proc/thread-self/ns/net")?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

/// An RTM_NEWLINK (man 7 rtnetlink) that sets IFF_UP on interface 1, which is always `lo`.
pub(crate) fn loopback_up() -> io::Result<()> {
    let up = u32::try_from(libc::IFF_UP).expect("a flag bit is positive");
    // A `struct ifinfomsg`: family and type, index, flags, which of them change.
    let words = [0, 1, up, up];
    let link = Body::new(words.map(u32::to_ne_bytes).as_flattened());
    let mut socket = Netlink::open(SockProtocol::NetlinkRoute)?;
    Ok(socket.command(libc::RTM_NEWLINK, 0, &link)?)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_private_namespace_has_a_working_loopback() {
        let before = current().unwrap();
        let inside = std::thread::spawn(|| {
            enter_private().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            current().unwrap()
        })
        .join()
        .unwrap();
        assert_ne!(before, inside);
        assert_eq!(before, current().unwrap());
    }
}
