//! Addresses as SOCKS5 writes them (RFC 1928, section 5).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use steer_core::address::{Destination, HostName};

pub(super) const IPV4: u8 = 1;
pub(super) const NAME: u8 = 3;
pub(super) const IPV6: u8 = 4;

/// Appends the type, address and port.
pub(super) fn write(target: &Destination, message: &mut Vec<u8>) {
    match target {
        Destination::Addr(destination) => match destination.addr().ip() {
            IpAddr::V4(ip) => {
                message.push(IPV4);
                message.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                message.push(IPV6);
                message.extend_from_slice(&ip.octets());
            }
        },
        Destination::Name { host, .. } => {
            let name = host.as_str().as_bytes();
            message.extend_from_slice(&[
                NAME,
                u8::try_from(name.len()).expect("a host name has at most 253 bytes"),
            ]);
            message.extend_from_slice(name);
        }
    }
    message.extend_from_slice(&target.port().to_be_bytes());
}

/// The address and port of this type at the start of `bytes`, and what is behind them.
pub(super) fn read(kind: u8, bytes: &[u8]) -> Option<(Destination, &[u8])> {
    let (host, rest): (&[u8], &[u8]) = match kind {
        IPV4 => bytes.split_at_checked(4)?,
        IPV6 => bytes.split_at_checked(16)?,
        NAME => {
            let (length, rest) = bytes.split_first()?;
            rest.split_at_checked(usize::from(*length))?
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    let at = |ip: IpAddr| Destination::addr(SocketAddr::new(ip, port));
    let destination = match kind {
        IPV4 => at(Ipv4Addr::from(<[u8; 4]>::try_from(host).ok()?).into()),
        IPV6 => at(Ipv6Addr::from(<[u8; 16]>::try_from(host).ok()?).into()),
        _ => {
            let text = str::from_utf8(host).ok()?;
            match text.parse::<IpAddr>() {
                Ok(ip) => at(ip),
                Err(_) => Destination::Name {
                    host: HostName::new(text).ok()?,
                    port,
                },
            }
        }
    };
    Some((destination, rest))
}
