//! Who opened a connection to a port of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use steer_core::accept::Accepted;
use steer_core::address::{Family, canonical};
use steer_core::netns::{MakeSockets, SocketKind, SocketWish};
use steer_core::object::Binding;
use steer_core::steered::Identity;
use steer_kernel::sock_diag::SockDiag;

/// Asks the kernel who opened a connection, where a rule, a record or the port itself depends on
/// it.
///
/// Only clients on this host have an owner here.
#[derive(Debug, Default)]
pub(crate) enum Owners {
    /// Nobody wants to know.
    #[default]
    Unasked,
    /// By a lookup of the connection.
    Lookup(SockDiag),
    /// By the table of all connections (man 5 proc_net): slow, but a sandbox that forbids netlink
    /// sockets leaves it.
    Table,
}

impl Owners {
    /// Asks.
    pub(crate) fn open() -> Self {
        match SockDiag::open() {
            Ok(diag) => Self::Lookup(diag),
            Err(error) => {
                tracing::debug!(%error, "no lookup of owners: the table of connections is read");
                Self::Table
            }
        }
    }

    /// Asks in a namespace that this process cannot enter.
    pub(crate) fn inside(sockets: &dyn MakeSockets) -> Self {
        let wish = SocketWish {
            family: Family::V4,
            kind: SocketKind::Diag,
            binding: Binding::Own,
            mark: None,
            bind: None,
        };
        match sockets.make(&wish).and_then(SockDiag::over) {
            Ok(diag) => Self::Lookup(diag),
            Err(error) => {
                tracing::warn!(%error, "owners cannot be asked for, so that nobody is served");
                Self::Unasked
            }
        }
    }

    /// The user at the other end, as far as it is known.
    pub(crate) fn of(&self, accepted: &Accepted) -> Identity {
        self.of_ends(accepted.client.0, accepted.local)
    }

    /// The user of the connection from `client` to `local`, as far as it is known.
    pub(crate) fn of_ends(&self, client: SocketAddr, local: SocketAddr) -> Identity {
        let (client, local) = (canonical(client), canonical(local));
        let uid = match self {
            Self::Unasked => None,
            Self::Lookup(diag) => diag
                .tcp_owner(client, local)
                .inspect_err(|error| tracing::debug!(%error, "the owner could not be asked"))
                .ok()
                .flatten(),
            Self::Table => in_table(client, local),
        };
        Identity {
            uid,
            ..Identity::default()
        }
    }
}

/// The user of the connection from `client` to `local`, by the tables of both families: an IPv6
/// socket may speak IPv4.
fn in_table(client: SocketAddr, local: SocketAddr) -> Option<u32> {
    let find = |path: &str, ends: [String; 2]| {
        std::fs::read_to_string(path)
            .inspect_err(|error| tracing::debug!(%error, path, "the owner could not be asked"))
            .ok()?
            .lines()
            .find_map(|line| owner(line, &ends))
    };
    let own = || {
        find(
            "/proc/thread-self/net/tcp",
            [client, local].map(|end| shown(end.ip(), end)),
        )
    };
    let v6 = || {
        let mapped = |end: SocketAddr| match end.ip() {
            IpAddr::V4(ip) => shown(ip.to_ipv6_mapped().into(), end),
            IpAddr::V6(_) => shown(end.ip(), end),
        };
        find("/proc/thread-self/net/tcp6", [client, local].map(mapped))
    };
    if client.is_ipv4() {
        own().or_else(v6)
    } else {
        v6()
    }
}

/// The users whose UDP sockets could have sent a datagram from `from` to `to`: connected to it, or
/// not connected at all.
pub(crate) fn udp_owners(from: SocketAddr, to: SocketAddr) -> Vec<u32> {
    let (from, to) = (canonical(from), canonical(to));
    let any = |end: SocketAddr, port| match end.ip() {
        IpAddr::V4(_) => shown(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        IpAddr::V6(_) => shown(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
    };
    let mapped = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    let nowhere = |end: SocketAddr| SocketAddr::new(end.ip(), 0);
    let mut owners = Vec::new();
    for (path, from, to) in [
        ("/proc/thread-self/net/udp", from, to),
        ("/proc/thread-self/net/udp6", mapped(from), mapped(to)),
    ] {
        let locals = [shown(from.ip(), from), any(from, from)];
        let remotes = [shown(to.ip(), to), any(to, nowhere(to))];
        match std::fs::read_to_string(path) {
            Ok(table) => {
                let lines = table.lines();
                owners.extend(lines.filter_map(|line| udp_owner(line, &locals, &remotes)));
            }
            Err(error) => tracing::debug!(%error, path, "the owner could not be asked"),
        }
    }
    owners
}

fn udp_owner(line: &str, locals: &[String], remotes: &[String]) -> Option<u32> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let held = |at: usize, ends: &[String]| {
        fields
            .get(at)
            .is_some_and(|field| ends.iter().any(|end| end == field))
    };
    let same = held(1, locals) && held(2, remotes);
    fields.get(7).filter(|_| same)?.parse().ok()
}

/// The user in a line of the table, if it is about these two ends.
fn owner(line: &str, [local, remote]: &[String; 2]) -> Option<u32> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let same = fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str());
    // Only what is still open has an inode; the user of anything else is forgotten.
    let open = fields.get(9).is_some_and(|inode| *inode != "0");
    fields.get(7).filter(|_| same && open)?.parse().ok()
}

/// An end as the table shows it: the address in words of 32 bits, each as a number of the host.
fn shown(ip: IpAddr, end: SocketAddr) -> String {
    use std::fmt::Write as _;
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut text = String::new();
    for word in octets.chunks_exact(4) {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        write!(text, "{word:08X}").expect("a String can be written");
    }
    write!(text, ":{:04X}", end.port()).expect("a String can be written");
    text
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn the_owners_of_a_udp_port_are_told_and_those_of_other_ports_are_not() {
        let me = nix::unistd::geteuid().as_raw();
        for (relay, own) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:0", "0.0.0.0:0"),
            ("127.0.0.1:0", "[::]:0"),
            ("[::1]:0", "[::1]:0"),
            ("[::1]:0", "[::]:0"),
        ] {
            let relay = UdpSocket::bind(relay).unwrap();
            let to = relay.local_addr().unwrap();
            let client = UdpSocket::bind(own).unwrap();
            let from = SocketAddr::new(to.ip(), client.local_addr().unwrap().port());
            assert_eq!(udp_owners(from, to), [me], "{own}");
            let dialled = match to.ip() {
                IpAddr::V4(ip) if own.starts_with('[') => {
                    SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
                }
                _ => to,
            };
            client.connect(dialled).unwrap();
            assert_eq!(udp_owners(from, to), [me], "{own}, connected");
            let other = SocketAddr::new(to.ip(), 1);
            assert_eq!(
                udp_owners(from, other),
                [0_u32; 0],
                "{own}, connected elsewhere"
            );
            drop(client);
            assert_eq!(udp_owners(from, to), [0_u32; 0], "{own}, closed");
        }
    }

    #[test]
    fn the_table_tells_the_same_owner_as_the_lookup() {
        let diag = SockDiag::open().unwrap();
        for (listen, mapped) in [
            ("127.0.0.1:0", false),
            ("[::1]:0", false),
            ("127.0.0.1:0", true),
        ] {
            let listener = TcpListener::bind(listen).unwrap();
            let to = listener.local_addr().unwrap();
            let dialled = match to.ip() {
                IpAddr::V4(ip) if mapped => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
                _ => to,
            };
            let client = TcpStream::connect(dialled).unwrap();
            let from = canonical(client.local_addr().unwrap());
            let me = nix::unistd::geteuid().as_raw();
            assert_eq!(in_table(from, to), Some(me), "{dialled}");
            assert_eq!(diag.tcp_owner(from, to).unwrap(), Some(me), "{dialled}");
            assert_eq!(in_table(to, SocketAddr::new(from.ip(), 1)), None);
            let (accepted, _) = listener.accept().unwrap();
            drop(client);
            // Its end is told once the peer has closed.
            assert_eq!(std::io::Read::read(&mut &accepted, &mut [0]).unwrap(), 0);
            assert_eq!(in_table(from, to), None, "{dialled}");
        }
    }
}
