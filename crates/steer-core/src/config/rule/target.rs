//! `http.to`: where requests go instead.

use super::super::document::Node;
use super::super::report::Report;
use super::super::value;
use super::error::RequestFault;
use crate::address::HostName;
use crate::policy::{Scheme, Target};

/// Reads `http://NAME[:PORT]` or `https://NAME[:PORT]`.
pub(super) fn read(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Target> {
    let text = value::text(node, key, "a URL", report)?;
    parsed(text).map_or_else(
        |why| {
            // Between the scheme and `@` may stand a password.
            let url = match (text.find("://"), text.rfind('@')) {
                (Some(scheme), Some(at)) if scheme + 3 <= at => {
                    format!("{}…{}", &text[..scheme + 3], &text[at..])
                }
                _ => text.to_owned(),
            };
            report.none(&node.span, RequestFault::To { url, why })
        },
        Some,
    )
}

fn parsed(text: &str) -> Result<Target, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err("its scheme is neither http nor https"),
    };
    if rest.contains('@') {
        return Err("it has a user; a field `authorization` says who asks");
    }
    if rest.contains(['/', '?', '#']) {
        return Err("something stands behind the host");
    }
    if rest.starts_with('[') {
        return Err(ADDRESS);
    }
    let (host, port) = match rest.rsplit_once(':') {
        None => (rest, None),
        Some((host, port)) => (host, Some(port)),
    };
    if host.parse::<std::net::IpAddr>().is_ok() || host.contains(':') {
        return Err(ADDRESS);
    }
    let port = match (port, scheme) {
        (None, Scheme::Http) => 80,
        (None, Scheme::Https) => 443,
        (Some(port), _) => {
            let is_plain = port.bytes().all(|byte| byte.is_ascii_digit());
            let number: Option<u16> = port.parse().ok().filter(|_| is_plain);
            number.filter(|port| *port != 0).ok_or("its port is none")?
        }
    };
    Ok(Target {
        scheme,
        host: HostName::new(host).map_err(|_| "its host is no name")?,
        port,
    })
}

const ADDRESS: &str = "its host is an address, which proves no name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_scheme_a_name_and_perhaps_a_port() {
        for (text, scheme, host, port) in [
            ("https://api.internal", Scheme::Https, "api.internal", 443),
            (
                "http://API.internal.:8080",
                Scheme::Http,
                "api.internal",
                8080,
            ),
            ("HTTP://a", Scheme::Http, "a", 80),
        ] {
            let host = HostName::new(host).unwrap();
            assert_eq!(parsed(text), Ok(Target { scheme, host, port }), "{text}");
        }
        for text in [
            "api.internal",
            "ftp://a",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u:p@a",
            "https://192.0.2.1",
            "https://[::1]:1",
            "https://::1",
            "https://a:0",
            "https://a:+1",
            "https://a:65536",
            "https://a:",
            "https://",
            "https://a b",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
