//! Network namespaces of our own.

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

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
fn loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let up = u32::try_from(libc::IFF_UP).expect("a flag bit is positive");
    let mut request = Vec::with_capacity(32);
    request.extend(32_u32.to_ne_bytes());
    request.extend(libc::RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([0; 4]);
    request.extend(1_i32.to_ne_bytes());
    request.extend(up.to_ne_bytes());
    request.extend(up.to_ne_bytes());
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = [0_u8; 256];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let errno = answer[..length]
        .get(16..20)
        .map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
        .ok_or(io::ErrorKind::InvalidData)?;
    if errno == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(-errno))
    }
}

const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;

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
