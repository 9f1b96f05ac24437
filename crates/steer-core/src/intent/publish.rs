//! Ports of a command that others reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{Family, canonical};

/// A port of the command that others reach at an address of this host.
///
/// ```
/// use steer_core::intent::Publish;
///
/// let publish: Publish = "8080:80".parse()?;
/// assert_eq!(publish.listen, "127.0.0.1:8080".parse().unwrap());
/// assert_eq!(publish.port, 80);
/// assert_eq!("[::1]:8080".parse::<Publish>()?.port, 8080);
/// # Ok::<(), steer_core::intent::PublishError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The address here.
    pub listen: SocketAddr,
    /// The port that the command listens on, on a loopback address or on all.
    pub port: u16,
}

impl Publish {
    /// The first two of them that cannot both be, because of the address here.
    ///
    /// ```
    /// use steer_core::intent::Publish;
    ///
    /// let ports = ["8080:80".parse()?, "0.0.0.0:8080:81".parse()?];
    /// assert_eq!(Publish::clash(&ports), Some((ports[0], ports[1])));
    /// assert_eq!(Publish::clash(&ports[1..]), None);
    /// # Ok::<(), steer_core::intent::PublishError>(())
    /// ```
    #[must_use]
    pub fn clash(ports: &[Self]) -> Option<(Self, Self)> {
        ports.iter().enumerate().find_map(|(index, later)| {
            let earlier = &ports[..index];
            let taken = earlier.iter().find(|it| overlap(it.listen, later.listen))?;
            Some((*taken, *later))
        })
    }
}

/// Whether the kernel refuses to bind both.
pub(crate) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = Family::of(a.ip()) == Family::of(b.ip());
    let any = |address: IpAddr| address.is_unspecified();
    a.port() == b.port() && (a.ip() == b.ip() || (same_family && (any(a.ip()) || any(b.ip()))))
}

/// A text that says no port to publish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no port to publish: write PORT, PORT:INNER, ADDRESS:PORT or ADDRESS:PORT:INNER")]
pub struct PublishError(pub String);

impl FromStr for Publish {
    type Err = PublishError;

    /// Reads `[ADDRESS:]PORT[:INNER]`, an IPv6 address in brackets; the address is 127.0.0.1 and the
    /// inner port the same where none is written.
    fn from_str(text: &str) -> Result<Self, PublishError> {
        read(text).ok_or_else(|| PublishError(text.to_owned()))
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.listen, self.port)
    }
}

fn read(text: &str) -> Option<Publish> {
    let (address, ports) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, ports) = rest.split_once("]:")?;
            (IpAddr::V6(address.parse().ok()?), ports)
        }
        None => match text.split_once(':') {
            Some((address, ports)) if address.contains('.') => {
                (IpAddr::V4(address.parse().ok()?), ports)
            }
            _ => (IpAddr::V4(Ipv4Addr::LOCALHOST), text),
        },
    };
    let (outer, inner) = ports.split_once(':').unwrap_or((ports, ports));
    Some(Publish {
        listen: canonical(SocketAddr::new(address, port(outer)?)),
        port: port(inner)?,
    })
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_says_where_and_which() {
        for (text, listen, port) in [
            ("8080", "127.0.0.1:8080", 8080),
            ("8080:80", "127.0.0.1:8080", 80),
            ("0.0.0.0:8080", "0.0.0.0:8080", 8080),
            ("192.0.2.1:8080:80", "192.0.2.1:8080", 80),
            ("[::1]:8080:80", "[::1]:8080", 80),
            ("[::ffff:127.0.0.1]:81", "127.0.0.1:81", 81),
        ] {
            let publish: Publish = text.parse().unwrap();
            assert_eq!(publish.listen, listen.parse().unwrap(), "{text}");
            assert_eq!(publish.port, port, "{text}");
            let shown = publish.to_string();
            assert_eq!(shown.parse(), Ok(publish), "{shown}");
        }
    }

    #[test]
    fn only_one_of_two_ports_at_an_address_can_be() {
        let clash = |ports: &[&str]| {
            let ports: Vec<Publish> = ports.iter().map(|port| port.parse().unwrap()).collect();
            Publish::clash(&ports).is_some()
        };
        assert!(clash(&["8080", "8080"]));
        assert!(clash(&["8081", "127.0.0.1:8080:80", "0.0.0.0:8080:81"]));
        assert!(!clash(&[
            "8080:80",
            "8081:80",
            "[::]:8080",
            "192.0.2.1:8080"
        ]));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            "0",
            "x",
            "+80",
            "65536",
            "80:",
            ":80",
            "80:80:80",
            "::1:80",
            "[::1]",
            "[::1]80",
            "1.2.3:80",
            "1.2.3.4",
            "1.2.3.4:80:0",
        ] {
            assert!(text.parse::<Publish>().is_err(), "{text:?}");
        }
    }
}
