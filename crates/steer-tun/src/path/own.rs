//! The addresses of this host, where it is a station of a link that leads to the engine.

use std::io;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use steer_core::netns::Inside;
use steer_core::plan::Netns;

/// The addresses of the host that has a link, whose own way out is another one: what it sends to the
/// engine could be what the engine itself has sent.
#[derive(Debug)]
pub struct Own {
    place: Inside,
    addresses: RwLock<Vec<IpAddr>>,
}

impl Own {
    /// Those in a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel does not say them.
    pub fn of(netns: &Netns) -> io::Result<Self> {
        let place = Inside::of(netns)?;
        let addresses = place.run(all)??;
        Ok(Self {
            place,
            addresses: RwLock::new(addresses),
        })
    }

    /// Whether one is among them.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let addresses = self.addresses.read();
        let addresses = addresses.unwrap_or_else(PoisonError::into_inner);
        addresses.contains(&address)
    }

    /// Asks again: they come and go.
    pub(super) fn refresh(&self) {
        match self.place.run(all).flatten() {
            Ok(addresses) => {
                *self
                    .addresses
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = addresses;
            }
            Err(error) => tracing::debug!(%error, "this host's addresses are not known anew"),
        }
    }

    #[cfg(test)]
    pub(super) fn known(addresses: Vec<IpAddr>) -> Self {
        Self {
            place: Inside::here(),
            addresses: RwLock::new(addresses),
        }
    }
}

/// The addresses of the calling thread's namespace.
fn all() -> io::Result<Vec<IpAddr>> {
    let addresses = getifaddrs()?.filter_map(|interface| ip(&interface.address?));
    Ok(addresses.collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|ip| IpAddr::from(ip.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|ip| ip.ip().into()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_loopback_address_is_this_host_s_and_a_documentation_s_is_not() {
        let own = Own::of(&Netns::Here).unwrap();
        own.refresh();
        assert!(own.has(Ipv4Addr::LOCALHOST.into()));
        assert!(!own.has(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
