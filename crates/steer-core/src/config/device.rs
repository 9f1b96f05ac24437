//! `device`: what the device of `tun` and `tap` is like.

use std::net::IpAddr;
use std::os::fd::RawFd;

use super::document::{Node, Span};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::address::Family;
use crate::intent::{Echo, Link};

/// Why something about a device cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No number, or one out of bounds.
    #[error("{text:?} is no value of `{key}`")]
    Number {
        /// The key.
        key: &'static str,
        /// What was written.
        text: String,
        /// The least that it can be.
        least: u32,
        /// The most that it can be.
        most: u32,
    },
    /// No address with the length of a network.
    #[error("{0:?} is not an address with the length of its network")]
    Text(String),
    /// An address that no station can have.
    #[error("the gateway {0} is not an address of a station of its network")]
    NoStation(String),
    /// A second address of a family.
    #[error("the gateway has two addresses of {0}")]
    Twice(Family),
}

impl DeviceError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Number { least, most, .. } => format!("write a number from {least} to {most}"),
            Self::Text(_) => "write 10.9.0.1/24 or \"fd00:9::1/64\"".to_owned(),
            Self::NoStation(_) => "choose an address within a network of at least four: \
                                   10.9.0.1/24, not 10.9.0.0/24 nor 10.9.0.255/24"
                .to_owned(),
            Self::Twice(_) => "keep one: stations have one gateway a family".to_owned(),
        }
    }
}

/// Reads `device`.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Link> {
    let section = Section::open(node, "device", Keys::new(&KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty("device".to_owned()));
    }
    let mtu = number(&section, "mtu", MTU, report);
    let queues = number(&section, "queues", (1, 16), report);
    let fd = number(&section, "fd", (3, i32::MAX as u32), report);
    let echo = section.at("echo").and_then(|node| {
        let words = [
            ("answer", Echo::Answer),
            ("forward", Echo::Forward),
            ("refuse", Echo::Refuse),
        ];
        let names = &["answer", "forward", "refuse"];
        value::word(node, "device.echo", &words, names, report)
    });
    let bridge = section
        .at("bridge")
        .and_then(|node| value::interface(node, "device.bridge", report));
    let gateway = value::list(&section, "gateway", report, |node, key, report| {
        let text = value::text(node, key, "an address like 10.9.0.1/24", report)?;
        match gateway(text) {
            Ok(gateway) => Some((gateway, node.span.clone())),
            Err(error) => report.none(&node.span, error),
        }
    });
    once_a_family(&gateway, report);
    let mut truth = |key: &str| {
        let node = section.at(key)?;
        value::truth(node, &section.path_of(key), report)
    };
    let (dhcp, advertise) = (truth("dhcp"), truth("advertise"));
    let link = Link {
        mtu,
        queues: queues.and_then(|queues| u16::try_from(queues).ok()),
        echo,
        fd: fd.and_then(|fd| RawFd::try_from(fd).ok()),
        bridge,
        gateway: gateway.into_iter().map(|(gateway, _)| gateway).collect(),
        dhcp: dhcp.unwrap_or(false),
        advertise: advertise.unwrap_or(false),
    };
    needs(&section, &link, report);
    Some(link)
}

/// Notes keys that mean something beside another one only.
fn needs(section: &Section<'_>, link: &Link, report: &mut Report<'_>) {
    let has = |wanted: &dyn Fn(IpAddr, u8) -> bool| {
        link.gateway.iter().any(|(ip, prefix)| wanted(*ip, *prefix))
    };
    let written = section.at("gateway").is_some();
    let met = [
        (
            ("bridge", "device.bridge"),
            link.bridge.is_some(),
            written,
            "`device.gateway`, the address of the engine on it",
        ),
        (
            ("dhcp", "device.dhcp"),
            link.dhcp,
            has(&|ip, _| ip.is_ipv4()),
            "an IPv4 address in `device.gateway`",
        ),
        (
            ("advertise", "device.advertise"),
            link.advertise,
            has(&|ip, prefix| ip.is_ipv6() && prefix == 64),
            "an IPv6 address with /64 in `device.gateway`",
        ),
    ];
    for ((name, key), asked, met, needs) in met {
        if let (Some(span), true, false) = (section.key_span(name), asked, met) {
            report.fault(span, Fault::Needs { key, needs });
        }
    }
}

/// A number within bounds.
fn number(
    section: &Section<'_>,
    key: &'static str,
    (least, most): (u32, u32),
    report: &mut Report<'_>,
) -> Option<u32> {
    let node = section.at(key)?;
    let text = value::text(node, &section.path_of(key), "a number", report)?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (least..=most).contains(&number) => Some(number),
        _ => {
            let fault = DeviceError::Number {
                key: match key {
                    "mtu" => "device.mtu",
                    "queues" => "device.queues",
                    _ => "device.fd",
                },
                text: text.to_owned(),
                least,
                most,
            };
            report.none(&node.span, fault)
        }
    }
}

fn once_a_family(gateways: &[((IpAddr, u8), Span)], report: &mut Report<'_>) {
    for family in Family::ALL {
        let mut of_family = gateways
            .iter()
            .filter(|((ip, _), _)| Family::of(*ip) == family);
        if let (Some(_), Some((_, span))) = (of_family.next(), of_family.next()) {
            report.fault(span, DeviceError::Twice(family));
        }
    }
}

/// An address that a station can have, with the length of its network.
fn gateway(text: &str) -> Result<(IpAddr, u8), DeviceError> {
    let no_text = || DeviceError::Text(text.to_owned());
    let (ip, prefix) = text.split_once('/').ok_or_else(no_text)?;
    let ip: IpAddr = ip.parse().map_err(|_| no_text())?;
    let bits = Family::of(ip).bits();
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix: u8 = prefix.parse().map_err(|_| no_text())?;
    if !digits || prefix > bits {
        return Err(no_text());
    }
    let in_it = match ip {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let number = v4.to_bits() & host;
            number != 0 && number != host && !v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            v6.to_ipv4_mapped().is_none() && v6.to_bits() & host != 0
        }
    };
    let nobody = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    match in_it && !nobody && (1..=bits - 2).contains(&prefix) {
        true => Ok((ip, prefix)),
        false => Err(DeviceError::NoStation(text.to_owned())),
    }
}

/// What IPv6 needs at least (RFC 8200, section 5), and what a packet of IPv4 can be at most with some
/// room for the link's header.
const MTU: (u32, u32) = (1280, 65520);

/// The keys of `device`.
const KEYS: [&str; 8] = [
    "mtu",
    "queues",
    "echo",
    "fd",
    "bridge",
    "gateway",
    "dhcp",
    "advertise",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_an_address_within_a_network_that_has_room_for_stations() {
        for (text, ip, prefix) in [
            ("10.9.0.1/24", "10.9.0.1", 24),
            ("10.9.0.2/30", "10.9.0.2", 30),
            ("fd00:9::1/64", "fd00:9::1", 64),
            ("fd00:9::1/126", "fd00:9::1", 126),
        ] {
            assert_eq!(gateway(text), Ok((ip.parse().unwrap(), prefix)), "{text}");
        }
        for text in [
            "",
            "10.9.0.1",
            "10.9.0.1/",
            "10.9.0.1/33",
            "10.9.0.1/+8",
            "::1/129",
            "x/8",
            "::ffff:10.9.0.1/64",
        ] {
            assert_eq!(
                gateway(text),
                Err(DeviceError::Text(text.to_owned())),
                "{text}"
            );
        }
        for text in [
            "10.9.0.0/24",
            "10.9.0.255/24",
            "10.9.0.1/31",
            "10.9.0.1/0",
            "127.0.0.1/8",
            "224.0.0.1/8",
            "255.255.255.255/8",
            "fd00:9::/64",
            "ff02::1/64",
            "::1/64",
        ] {
            let error = gateway(text).unwrap_err();
            assert_eq!(error, DeviceError::NoStation(text.to_owned()), "{text}");
        }
    }
}
