//! Other addresses and ports in the place of a segment's, with checksums that stay right.

use std::net::{IpAddr, SocketAddr};

use super::checksum::{address, updated, updated_sum};
use super::{Offload, Parsed, Reason};

/// Other addresses and ports in the place of those of a TCP segment: its source and its destination.
///
/// The checksums are brought up to date by what changed, and so are as right or wrong as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    from: Ends,
    to: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    source: SocketAddr,
    destination: SocketAddr,
    /// The sum of both addresses.
    addresses: u64,
}

impl Ends {
    fn new((source, destination): (SocketAddr, SocketAddr)) -> Self {
        Self {
            source,
            destination,
            addresses: address(source.ip()) + address(destination.ip()),
        }
    }

    const fn swapped(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ..self
        }
    }

    /// The sum of both ports.
    fn ports(self) -> u64 {
        u64::from(self.source.port()) + u64::from(self.destination.port())
    }
}

impl Change {
    /// The change from a source and a destination to others of their family.
    #[must_use]
    pub fn new(from: (SocketAddr, SocketAddr), to: (SocketAddr, SocketAddr)) -> Self {
        Self {
            from: Ends::new(from),
            to: Ends::new(to),
        }
    }

    /// The one that undoes it on what comes back, whose source is the destination of what went.
    #[must_use]
    pub const fn back(self) -> Self {
        Self {
            from: self.to.swapped(),
            to: self.from.swapped(),
        }
    }

    /// Changes a packet, which has the addresses and ports that this is from.
    ///
    /// # Errors
    /// What is said of its checksum fits no TCP segment; it is as it was.
    pub fn apply(
        self,
        packet: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Result<(), Reason> {
        let start = u16::try_from(parsed.start).map_err(|_| Reason::Length)?;
        if offload.partial.is_some_and(|p| p != (start, CHECKSUM)) {
            return Err(Reason::Checksum);
        }
        let (header, transport) = packet
            .split_at_mut_checked(parsed.start)
            .ok_or(Reason::Length)?;
        let transport: &mut [u8; 20] = transport.first_chunk_mut().ok_or(Reason::Length)?;
        let Self { from, to } = self;
        match (from.source.ip(), to.source.ip(), to.destination.ip()) {
            (IpAddr::V4(_), IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header: &mut [u8; 20] = header.first_chunk_mut().ok_or(Reason::Length)?;
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let field = u16::from_be_bytes([header[10], header[11]]);
                let field = updated(field, from.addresses, to.addresses);
                header[10..12].copy_from_slice(&field.to_be_bytes());
            }
            (IpAddr::V6(_), IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header: &mut [u8; 40] = header.first_chunk_mut().ok_or(Reason::Length)?;
                header[8..24].copy_from_slice(&source.octets());
                header[24..40].copy_from_slice(&destination.octets());
            }
            _ => return Err(Reason::Version),
        }
        transport[..2].copy_from_slice(&to.source.port().to_be_bytes());
        transport[2..4].copy_from_slice(&to.destination.port().to_be_bytes());
        let at = usize::from(CHECKSUM);
        let field = u16::from_be_bytes([transport[at], transport[at + 1]]);
        let field = match offload.partial {
            // The sum of the pseudo header, which has no ports.
            Some(_) => updated_sum(field, from.addresses, to.addresses),
            None => updated(
                field,
                from.addresses + from.ports(),
                to.addresses + to.ports(),
            ),
        };
        transport[at..at + 2].copy_from_slice(&field.to_be_bytes());
        Ok(())
    }
}

/// Where the checksum is in a TCP header.
const CHECKSUM: u16 = 16;

#[cfg(test)]
mod tests;
