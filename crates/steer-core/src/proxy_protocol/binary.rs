//! Version 2: binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::tlv::{self, Tlv};
use super::{Header, HeaderError, Origin};
use crate::address::{Protocol, canonical};

/// What a header begins with: bytes that no protocol's first ones are.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and protocol, and the length of the rest.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x0;
const INET: u8 = 0x1;
const INET6: u8 = 0x2;
const UNIX: u8 = 0x3;
const STREAM: u8 = 0x1;
const DGRAM: u8 = 0x2;
/// The room of a path of a UNIX socket, padded with zeros.
const PATH: usize = 108;

pub(super) fn encode(header: &Header) -> Result<Vec<u8>, HeaderError> {
    let Header { origin, tlvs } = header;
    let (command, family, mut body) = match origin {
        Origin::Local => (LOCAL, UNSPEC << 4, Vec::new()),
        Origin::Unknown => (PROXY, UNSPEC << 4, Vec::new()),
        Origin::Ip {
            protocol,
            client,
            destination,
        } => {
            let (family, body) = addresses(*client, *destination);
            (PROXY, family << 4 | transport(*protocol), body)
        }
        Origin::Unix {
            client,
            destination,
        } => {
            let mut body = Vec::with_capacity(2 * PATH);
            for (index, path) in [client, destination].into_iter().enumerate() {
                if path.len() > PATH {
                    return Err(HeaderError::TooLong);
                }
                body.extend_from_slice(path);
                body.resize((index + 1) * PATH, 0);
            }
            (PROXY, UNIX << 4 | STREAM, body)
        }
    };
    for tlv in tlvs {
        tlv.write(&mut body)?;
    }
    // Last, so that its place is known: the sum is that of a header in which it is zero.
    Tlv::new(tlv::CRC32C, [0; 4]).write(&mut body)?;
    let length = u16::try_from(body.len()).map_err(|_| HeaderError::TooLong)?;
    let mut bytes = Vec::with_capacity(FIXED + body.len());
    bytes.extend_from_slice(SIGNATURE);
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    let sum = crc32c([bytes.as_slice()]).to_be_bytes();
    let place = bytes.len() - sum.len();
    bytes[place..].copy_from_slice(&sum);
    Ok(bytes)
}

fn transport(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => STREAM,
        Protocol::Udp => DGRAM,
    }
}

/// The family of two addresses, and them: the IPs first, then the ports.
fn addresses(client: SocketAddr, destination: SocketAddr) -> (u8, Vec<u8>) {
    let mut body = Vec::with_capacity(36);
    let family = match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.extend([from, to].map(|ip| ip.octets()).concat());
            INET
        }
        (from, to) => {
            body.extend([from, to].map(|ip| mapped(ip).octets()).concat());
            INET6
        }
    };
    body.extend(
        [client, destination]
            .map(|at| at.port().to_be_bytes())
            .concat(),
    );
    (family, body)
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, LOCAL | PROXY) {
        return Err(HeaderError::Binary(
            "the version is not 2, or the command is neither LOCAL nor PROXY",
        ));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let whole = &bytes[..FIXED + length];
    let (origin, tlvs) = origin(command, family, body)?;
    let tlvs = tlv::read(tlvs).map_err(HeaderError::Binary)?;
    check(whole, tlvs.iter())?;
    let tlvs = tlvs
        .into_iter()
        .filter(|(_, tlv)| !matches!(tlv.kind, tlv::NOOP | tlv::CRC32C))
        .map(|(_, tlv)| tlv)
        .collect();
    Ok(Some((Header { origin, tlvs }, whole.len())))
}

/// Whose connection it is, and what follows the addresses.
fn origin(command: u8, family: u8, body: &[u8]) -> Result<(Origin, &[u8]), HeaderError> {
    let protocol = match family & 0xf {
        STREAM => Some(Protocol::Tcp),
        DGRAM => Some(Protocol::Udp),
        0 => None,
        _ => return Err(HeaderError::Binary("the transport is none that is defined")),
    };
    let length = match family >> 4 {
        UNSPEC => 0,
        INET => 12,
        INET6 => 36,
        UNIX => 2 * PATH,
        _ => return Err(HeaderError::Binary("the family is none that is defined")),
    };
    let short = HeaderError::Binary("the addresses are cut short");
    let Some((block, rest)) = body.split_at_checked(length) else {
        // The sender's own may come with a family and without the addresses.
        return if command == LOCAL && body.is_empty() {
            Ok((Origin::Local, body))
        } else {
            Err(short)
        };
    };
    let origin = match (command, family >> 4, protocol) {
        (LOCAL, ..) => Origin::Local,
        (_, INET, Some(protocol)) => ip(protocol, block, |bytes: [u8; 4]| Ipv4Addr::from(bytes)),
        (_, INET6, Some(protocol)) => ip(protocol, block, |bytes: [u8; 16]| Ipv6Addr::from(bytes)),
        (_, UNIX, Some(_)) => {
            let path = |path: &[u8]| {
                // An abstract one begins with a zero, so that only the padding is taken off.
                let end = path
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |at| at + 1);
                path[..end].to_vec()
            };
            Origin::Unix {
                client: path(&block[..PATH]),
                destination: path(&block[PATH..]),
            }
        }
        _ => Origin::Unknown,
    };
    Ok((origin, rest))
}

/// Two addresses and two ports of a block whose length is theirs.
fn ip<const N: usize, T: Into<IpAddr>>(
    protocol: Protocol,
    block: &[u8],
    address: impl Fn([u8; N]) -> T,
) -> Origin {
    let at = |index: usize| {
        let ip = &block[index * N..(index + 1) * N];
        let port = &block[2 * (N + index)..2 * (N + index + 1)];
        let ip: [u8; N] = ip
            .try_into()
            .expect("the block has room for both addresses");
        let port = port.try_into().expect("the block has room for both ports");
        canonical(SocketAddr::new(
            address(ip).into(),
            u16::from_be_bytes(port),
        ))
    };
    Origin::Ip {
        protocol,
        client: at(0),
        destination: at(1),
    }
}

/// Compares the checksum of a header, where it has one.
fn check<'a>(
    whole: &[u8],
    mut tlvs: impl Iterator<Item = &'a (usize, Tlv)>,
) -> Result<(), HeaderError> {
    let Some((left, tlv)) = tlvs.find(|(_, tlv)| tlv.kind == tlv::CRC32C) else {
        return Ok(());
    };
    let Ok(told) = <[u8; 4]>::try_from(tlv.value.as_slice()) else {
        return Err(HeaderError::Binary("the checksum has not four bytes"));
    };
    // Counted from the end, which is the same one for the values and for the header.
    let at = whole.len() - left - told.len();
    let parts = [&whole[..at], &[0; 4], &whole[at + told.len()..]];
    if crc32c(parts) == u32::from_be_bytes(told) {
        Ok(())
    } else {
        Err(HeaderError::Checksum)
    }
}
