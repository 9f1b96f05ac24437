//! The proxy's part that carries datagrams (RFC 1928, section 7).

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lab::Family;

use super::{Request, Shared};

impl Shared {
    /// Carries datagrams for as long as the connection stands.
    pub(super) fn associate(&self, client: &mut TcpStream, login: Option<&str>) -> io::Result<()> {
        let own = self.host.at(Family::V4, 0);
        let any = |family: Family| SocketAddr::new(family.any(), 0);
        let (inside, outside) = self.host.enter(|| {
            let outside = Family::BOTH.map(|family| UdpSocket::bind(any(family)));
            Ok::<_, io::Error>((UdpSocket::bind(own)?, outside))
        })?;
        let [v4, v6] = outside;
        let outside = [Arc::new(v4?), Arc::new(v6?)];
        let inside = Arc::new(inside);
        let IpAddr::V4(ip) = own.ip() else {
            unreachable!("an address of IPv4 was asked for")
        };
        let port = inside.local_addr()?.port().to_be_bytes();
        client.write_all(&[&[5, 0, 0, 1][..], &ip.octets(), &port].concat())?;
        inside.set_read_timeout(Some(BEAT))?;
        client.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut known: HashMap<String, SocketAddr> = HashMap::new();
        let mut back = false;
        let mut buffer = vec![0; 65_536];
        // Until the client closes its connection.
        while !matches!(client.read(&mut [0]), Ok(0)) {
            let Ok((count, from)) = inside.recv_from(&mut buffer) else {
                continue;
            };
            let Some((target, at)) = target(&buffer[..count]) else {
                continue;
            };
            if !known.contains_key(&target) {
                self.lock().push(Request {
                    protocol: "socks5 udp",
                    target: target.clone(),
                    login: login.map(str::to_owned),
                });
                let Some(to) = self.resolved(&target) else {
                    continue;
                };
                known.insert(target.clone(), to);
            }
            if !back {
                back = true;
                for socket in &outside {
                    let (socket, inside) = (Arc::clone(socket), Arc::clone(&inside));
                    thread::spawn(move || answers(&socket, &inside, from));
                }
            }
            let to = known[&target];
            let socket = &outside[usize::from(to.is_ipv6())];
            // What cannot be sent is lost, as datagrams are.
            let _ = socket.send_to(&buffer[at..count], to);
        }
        Ok(())
    }
}

/// Brings answers back until none has come for a while.
fn answers(from: &UdpSocket, inside: &UdpSocket, client: SocketAddr) -> io::Result<()> {
    from.set_read_timeout(Some(lab::DEADLINE))?;
    let mut buffer = vec![0; 65_536];
    loop {
        let (count, source) = from.recv_from(&mut buffer)?;
        let mut head = vec![0, 0, 0];
        match source.ip() {
            IpAddr::V4(ip) => head.extend([&[1][..], &ip.octets()].concat()),
            IpAddr::V6(ip) => head.extend([&[4][..], &ip.octets()].concat()),
        }
        head.extend(source.port().to_be_bytes());
        head.extend(&buffer[..count]);
        inside.send_to(&head, client)?;
    }
}

/// Where a datagram is to go, and where its own bytes begin.
fn target(bytes: &[u8]) -> Option<(String, usize)> {
    let (host, end) = match bytes.get(3)? {
        1 => {
            let ip = <[u8; 4]>::try_from(bytes.get(4..8)?).ok()?;
            (Ipv4Addr::from(ip).to_string(), 8)
        }
        3 => {
            let end = 5 + usize::from(*bytes.get(4)?);
            (
                String::from_utf8_lossy(bytes.get(5..end)?).into_owned(),
                end,
            )
        }
        4 => {
            let ip = <[u8; 16]>::try_from(bytes.get(4..20)?).ok()?;
            (format!("[{}]", Ipv6Addr::from(ip)), 20)
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(bytes.get(end..end + 2)?.try_into().ok()?);
    Some((format!("{host}:{port}"), end + 2))
}

/// How long a datagram is waited for before the connection is looked at.
const BEAT: Duration = Duration::from_millis(20);
