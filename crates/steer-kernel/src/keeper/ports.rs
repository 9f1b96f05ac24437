//! The engine's listeners, held so that their ports stay taken while anything steers to them.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

/// Duplicates of an engine's listeners; nobody accepts from them here.
///
/// Without them, the port of an engine that has died would be free while rules still redirect to
/// it, and whoever binds it first would be given the connections.
#[derive(Debug, Default)]
pub(super) struct Ports(Vec<OwnedFd>);

impl Ports {
    pub(super) const fn new(listeners: Vec<OwnedFd>) -> Self {
        Self(listeners)
    }

    /// Resets the connections that wait and refuses those to come; the ports stay taken.
    pub(super) fn refuse(&self) {
        for listener in &self.0 {
            // While it listens, nobody else can bind its port. A socket that is bound alone shares
            // the port with whoever asks for it with SO_REUSEADDR, where it has asked as well.
            let done = setsockopt(listener, sockopt::ReuseAddr, &false)
                // Ends the listening; the port stays because it was bound by its number
                // (SOCK_BINDPORT_LOCK, `tcp_set_state` of net/ipv4/tcp.c).
                .and_then(|()| shutdown(listener.as_raw_fd(), Shutdown::Both));
            match done {
                Ok(()) | Err(Errno::ENOTCONN) => {}
                Err(errno) => tracing::warn!(%errno, "a listener of the engine goes on listening"),
            }
        }
    }

    /// Lets the ports go.
    pub(super) fn close(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::time::Duration;

    use lab::{Host, Lab, require};
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket,
    };

    use super::*;

    /// Tries to listen at an address with every way of sharing a port.
    fn capture(at: SocketAddr) -> Vec<Result<(), Errno>> {
        let family = match at {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let attempt = |address: bool, port: bool| {
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &address)?;
            setsockopt(&socket, sockopt::ReusePort, &port)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
            listen(&socket, Backlog::new(1)?)
        };
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(address, port)| attempt(address, port))
            .to_vec()
    }

    /// A listener whose port was asked for by number, as an engine's is.
    fn listener(any: &str) -> TcpListener {
        loop {
            let free = TcpListener::bind(any).unwrap().local_addr().unwrap();
            match TcpListener::bind(free) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                other => return other.unwrap(),
            }
        }
    }

    fn held(listener: BorrowedFd<'_>) -> Ports {
        Ports::new(vec![listener.try_clone_to_owned().unwrap()])
    }

    #[test]
    fn a_port_of_a_dead_engine_refuses_and_is_nobody_else_s_until_it_is_closed() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let engine = listener(any);
            let at = engine.local_addr().unwrap();
            let mut ports = held(engine.as_fd());
            let mut waiting = TcpStream::connect(at).unwrap();
            waiting
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            drop(engine);
            ports.refuse();
            let error = waiting.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{at}");
            let error = TcpStream::connect(at).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{at}");
            assert_eq!(capture(at), [Err(Errno::EADDRINUSE); 4], "{at}");
            ports.refuse();
            ports.close();
            assert_eq!(capture(at), [Ok(()); 4], "{at}");
        }
    }

    #[test]
    fn a_transparent_listener_of_a_dead_engine_refuses_what_is_handed_to_it() {
        require!(Root, Program("nft"));
        let host = Lab::new("ports").host("app");
        // Without one of its own, nothing but the network's could be its packets' source.
        for address in ["198.51.100.1", "2001:db8:1::1"] {
            host.add_address(address.parse().unwrap());
        }
        let connect = |to| TcpStream::connect_timeout(&to, Duration::from_secs(10));
        for (family, to, net, listener) in [
            ("ip", "192.0.2.1:80", "192.0.2.0/24", "127.0.0.1:0"),
            ("ip6", "[2001:db8::1]:80", "2001:db8::/64", "[::1]:0"),
        ] {
            host.enter(|| {
                let engine = listener_at(listener);
                let at = engine.local_addr().unwrap();
                steer_to(&host, family, net, at);
                let to: SocketAddr = to.parse().unwrap();
                let mut ports = held(engine.as_fd());
                let _accepted = connect(to).unwrap();
                assert_eq!(engine.accept().unwrap().0.local_addr().unwrap(), to);
                let mut queued = connect(to).unwrap();
                queued
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                drop(engine);
                ports.refuse();
                let error = connect(to).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{to}");
                let error = queued.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{to}");
                assert_eq!(capture(at), [Err(Errno::EADDRINUSE); 4], "{at}");
                ports.close();
            });
        }
    }

    /// A listener that may have foreign addresses.
    fn listener_at(any: &str) -> TcpListener {
        let listener = listener(any);
        setsockopt(&listener, sockopt::IpTransparent, &true).unwrap();
        listener
    }

    /// Hands connections to a network, made on the host, to a transparent listener.
    fn steer_to(host: &Host, family: &str, net: &str, at: SocketAddr) {
        let rules = format!(
            "table {family} t {{
                chain out {{
                    type route hook output priority -151;
                    {family} daddr {net} meta l4proto tcp meta mark set 0x80000000
                }}
                chain arrive {{
                    type filter hook prerouting priority -151;
                    meta mark 0x80000000 meta l4proto tcp tproxy to {at}
                }}
                chain gate {{
                    type filter hook input priority 0;
                    meta mark 0x80000000 socket transparent 1 return
                    meta mark 0x80000000 meta l4proto tcp reject with tcp reset
                }}
            }}"
        );
        host.program("nft").args([&rules]).run().expect_success();
        let version = if at.is_ipv4() { "-4" } else { "-6" };
        for words in [
            format!("route add {net} dev lo"),
            "rule add fwmark 0x80000000 lookup 7".to_owned(),
            "route add local default dev lo table 7".to_owned(),
        ] {
            let words = std::iter::once(version).chain(words.split(' '));
            host.ip(&words.collect::<Vec<_>>());
        }
    }
}
