//! One direction of a tracked connection: `CTA_TUPLE_*`, its values in network order.

use std::net::{IpAddr, SocketAddr};

use nix::libc;
use steer_core::address::{Family, Protocol};

use crate::netlink::message::{Body, attrs};

/// Who sends to whom, both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) protocol: Protocol,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Tuple {
    pub(super) fn family(&self) -> Family {
        Family::of(self.source.ip())
    }

    /// Adds the tuple's attributes.
    pub(super) fn write(&self, body: Body) -> Body {
        let Self {
            protocol,
            source,
            destination,
        } = *self;
        let address = |body: Body, kinds: [u16; 2], ip: IpAddr| match ip {
            IpAddr::V4(ip) => body.attr(kinds[0], &ip.octets()),
            IpAddr::V6(ip) => body.attr(kinds[1], &ip.octets()),
        };
        body.nest(CTA_TUPLE_IP, |body| {
            let body = address(body, [CTA_IP_V4_SRC, CTA_IP_V6_SRC], source.ip());
            address(body, [CTA_IP_V4_DST, CTA_IP_V6_DST], destination.ip())
        })
        .nest(CTA_TUPLE_PROTO, |body| {
            body.attr(CTA_PROTO_NUM, &[number(protocol)])
                .attr(CTA_PROTO_SRC_PORT, &source.port().to_be_bytes())
                .attr(CTA_PROTO_DST_PORT, &destination.port().to_be_bytes())
        })
    }

    /// Reads the tuple's attributes; `None` for a protocol that is not ours.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let nested = |wanted| attrs(value).find(|(kind, _)| *kind == wanted);
        let (mut from, mut to) = (None, None);
        for (kind, data) in attrs(nested(CTA_TUPLE_IP)?.1) {
            match kind {
                CTA_IP_V4_SRC | CTA_IP_V6_SRC => from = address(data),
                CTA_IP_V4_DST | CTA_IP_V6_DST => to = address(data),
                _ => {}
            }
        }
        let (mut protocol, mut from_port, mut to_port) = (None, None, None);
        for (kind, data) in attrs(nested(CTA_TUPLE_PROTO)?.1) {
            match kind {
                CTA_PROTO_NUM => {
                    let num = data.first().copied();
                    protocol = [Protocol::Tcp, Protocol::Udp]
                        .into_iter()
                        .find(|p| Some(number(*p)) == num);
                }
                CTA_PROTO_SRC_PORT => from_port = port(data),
                CTA_PROTO_DST_PORT => to_port = port(data),
                _ => {}
            }
        }
        Some(Self {
            protocol: protocol?,
            source: SocketAddr::new(from?, from_port?),
            destination: SocketAddr::new(to?, to_port?),
        })
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(<[u8; 4]>::try_from(data).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(data).ok()?.into()),
        _ => None,
    }
}

fn port(data: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(data.try_into().ok()?))
}

const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}

const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_is_read_as_it_was_written() {
        for (source, destination) in [
            ("192.0.2.1:53", "198.51.100.2:4000"),
            ("[2001:db8::1]:53", "[2001:db8::2]:4000"),
        ] {
            let tuple = Tuple {
                protocol: Protocol::Udp,
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            };
            let body = tuple.write(Body::new(&[]));
            assert_eq!(Tuple::read(body.bytes()), Some(tuple));
        }
        assert_eq!(Tuple::read(&[8, 0, 1, 0]), None);
    }
}
