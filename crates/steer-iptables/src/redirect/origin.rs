//! The original destination of a redirected connection.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};
use steer_core::address::{OrigDst, canonical};
use steer_core::connections::Origin;

/// Asks SO_ORIGINAL_DST (IP6T_SO_ORIGINAL_DST for IPv6) of an accepted socket.
///
/// For a connection that was not redirected the kernel says ENOENT, or, while any NAT rule is
/// loaded, the listener's own address: dialling that would be a loop.
pub(super) fn of(socket: &impl AsFd, local: SocketAddr) -> io::Result<Origin> {
    let fd = socket.as_fd();
    let answer = match canonical(local) {
        SocketAddr::V4(_) => getsockopt(&fd, sockopt::OriginalDst).map(|raw| {
            let ip = u32::from_be(raw.sin_addr.s_addr).into();
            SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)))
        }),
        SocketAddr::V6(_) => getsockopt(&fd, sockopt::Ip6tOriginalDst).map(|raw| {
            let ip = raw.sin6_addr.s6_addr.into();
            // The scope id tells which link a link-local destination is on.
            let (port, scope) = (u16::from_be(raw.sin6_port), raw.sin6_scope_id);
            SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
        }),
    };
    match answer {
        Ok(to) if canonical(to) == canonical(local) => Ok(Origin::Direct),
        Ok(to) => Ok(Origin::Steered(OrigDst::new(to))),
        Err(nix::Error::ENOENT) => Ok(Origin::Direct),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_direct_connection_has_no_original_destination() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            let _client = TcpStream::connect(local).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(of(&accepted, local).unwrap(), Origin::Direct, "{address}");
        }
    }
}
