//! The address of an upstream proxy as a URL.

use crate::address::Destination;
use crate::policy::{Credentials, Secret, UpstreamKind};

/// A proxy's kind, address and, where the URL holds them, credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProxyUrl {
    pub(super) kind: UpstreamKind,
    /// Whether it is spoken to in TLS.
    pub(super) tls: bool,
    pub(super) address: Destination,
    pub(super) credentials: Option<Credentials>,
}

/// Why a text is no URL of a proxy; never shows what could be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `scheme://`.
    #[error("the URL has no scheme")]
    NoScheme,
    /// The scheme is none that can be spoken.
    #[error("the scheme `{0}` is not supported")]
    Scheme(String),
    /// Host and port are missing or malformed.
    #[error("the URL has no valid host")]
    Host,
    /// The port is missing, and the scheme has no usual one.
    #[error("the URL has no port, and its scheme has no usual one")]
    NoPort,
    /// The port is no port.
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
    /// A user without a password.
    #[error("the URL has a user name but no password")]
    NoPassword,
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are no UTF-8.
    #[error("the credentials of the URL are not percent-encoded")]
    Encoding,
    /// Something stands behind the port.
    #[error("the URL of a proxy has no path, query or fragment")]
    Trailing,
    /// The user name or password cannot be carried by the protocol.
    #[error("the {part} in the URL cannot be sent: {why}")]
    Unsendable {
        /// `user name` or `password`.
        part: &'static str,
        /// What the protocol demands.
        why: &'static str,
    },
    /// The proxy is a listener of this configuration.
    #[error("the URL is the address of steer itself")]
    Ourselves,
}

impl UrlError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoScheme | Self::Scheme(_) => {
                "write socks5://HOST:PORT (socks5h means the same: names always go to the proxy), \
                 http://HOST:PORT, the same in TLS as socks5+tls:// and https://, or \
                 tcp://HOST:PORT"
            }
            Self::Host => "write SCHEME://HOST:PORT, with an IPv6 address in brackets",
            Self::NoPort => "add the port: http://HOST:3128",
            Self::Port => "write SCHEME://HOST:PORT",
            Self::NoPassword => "write USER:PASSWORD@, or give `username` and `password` as keys",
            Self::Encoding => "write a literal % as %25, @ as %40, : as %3A and / as %2F",
            Self::Trailing => "remove what stands behind the port",
            Self::Unsendable { .. } => "choose other credentials at the proxy",
            Self::Ourselves => "write the address of another proxy",
        }
        .to_owned()
    }
}

/// Reads a scheme, `USER:PASSWORD@`, a host and a port.
///
/// SOCKS5 has a usual port, 1080 (registered for it); for an HTTP proxy clients disagree about
/// one, and in TLS nothing has one, so that it must be written.
pub(super) fn parse(text: &str) -> Result<ProxyUrl, UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
    let scheme = scheme.to_ascii_lowercase();
    let (kind, tls, usual_port) = match scheme.as_str() {
        "socks5" | "socks5h" => (UpstreamKind::Socks5, false, Some(1080)),
        "socks5+tls" | "socks5h+tls" => (UpstreamKind::Socks5, true, None),
        "http" => (UpstreamKind::Http, false, None),
        "https" => (UpstreamKind::Http, true, None),
        "tcp" => (UpstreamKind::Tcp, false, None),
        // A scheme is a word; anything else could hold a secret and is not repeated.
        word if !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') =>
        {
            return Err(UrlError::Scheme(scheme));
        }
        _ => return Err(UrlError::NoScheme),
    };
    let (userinfo, rest) = match rest.rsplit_once('@') {
        Some((userinfo, rest)) => (Some(userinfo), rest),
        None => (None, rest),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(UrlError::Trailing);
    }
    let credentials = userinfo.map(|u| credentials(u, kind)).transpose()?;
    let address = address(authority, usual_port)?;
    Ok(ProxyUrl {
        kind,
        tls,
        address,
        credentials,
    })
}

/// Whether a user name and password can be carried by a protocol; a password that is read later
/// is given as `None`.
pub(super) fn sendable(
    kind: UpstreamKind,
    username: &str,
    password: Option<&str>,
) -> Result<(), (&'static str, &'static str)> {
    let control = |text: &str| text.chars().any(char::is_control);
    if control(username) {
        return Err(("user name", "it holds control characters"));
    }
    if password.is_some_and(control) {
        return Err(("password", "it holds control characters"));
    }
    match kind {
        // RFC 1929, section 2: both lengths are a byte from 1 to 255.
        UpstreamKind::Socks5 => {
            let long = |text: &str| text.is_empty() || text.len() > 255;
            if long(username) {
                return Err(("user name", "SOCKS5 demands 1 to 255 bytes"));
            }
            if password.is_some_and(long) {
                return Err(("password", "SOCKS5 demands 1 to 255 bytes"));
            }
        }
        UpstreamKind::Tcp => return Err(("user name", "nothing is asked of a tcp:// upstream")),
        // RFC 7617, section 2: the first colon ends the user name.
        UpstreamKind::Http => {
            if username.contains(':') {
                return Err((
                    "user name",
                    "HTTP basic authentication forbids a colon in it",
                ));
            }
        }
    }
    Ok(())
}

fn credentials(userinfo: &str, kind: UpstreamKind) -> Result<Credentials, UrlError> {
    let (username, password) = userinfo.split_once(':').ok_or(UrlError::NoPassword)?;
    let (username, password) = (decoded(username)?, decoded(password)?);
    sendable(kind, &username, Some(&password))
        .map_err(|(part, why)| UrlError::Unsendable { part, why })?;
    Ok(Credentials {
        username,
        password: Secret::Literal(password),
    })
}

fn address(authority: &str, usual_port: Option<u16>) -> Result<Destination, UrlError> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        return Err(UrlError::Host);
    }
    let port = match port {
        None | Some("") => usual_port.ok_or(UrlError::NoPort)?,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Port)?,
        Some(_) => return Err(UrlError::Port),
    };
    Destination::parse_host(host, port).map_err(|_| UrlError::Host)
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(), digit());
        let (Some(high), Some(low)) = (high, low) else {
            return Err(UrlError::Encoding);
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_kind_address_and_decoded_credentials() {
        let url = parse("SOCKS5://us%3Aer:p%40ss@[2001:db8::1]:1081/").unwrap();
        assert_eq!(url.kind, UpstreamKind::Socks5);
        assert_eq!(url.address.to_string(), "[2001:db8::1]:1081");
        let credentials = url.credentials.unwrap();
        assert_eq!(credentials.username, "us:er");
        assert_eq!(credentials.password, Secret::Literal("p@ss".to_owned()));
    }

    #[test]
    fn the_scheme_tells_what_is_spoken_and_whether_in_tls() {
        for (scheme, kind, tls) in [
            ("socks5", UpstreamKind::Socks5, false),
            ("socks5+tls", UpstreamKind::Socks5, true),
            ("http", UpstreamKind::Http, false),
            ("https", UpstreamKind::Http, true),
            ("tcp", UpstreamKind::Tcp, false),
        ] {
            let url = parse(&format!("{scheme}://proxy.example:1")).unwrap();
            assert_eq!((url.kind, url.tls), (kind, tls), "{scheme}");
        }
        assert!(sendable(UpstreamKind::Tcp, "u", None).is_err());
    }

    #[test]
    fn socks_has_a_usual_port_and_http_has_none() {
        assert_eq!(parse("socks5h://proxy").unwrap().address.port(), 1080);
        assert_eq!(parse("http://proxy"), Err(UrlError::NoPort));
    }

    #[test]
    fn what_is_no_proxy_url_is_refused() {
        for (text, error) in [
            ("10.0.0.1:1080", UrlError::NoScheme),
            ("socks4://p:1", UrlError::Scheme("socks4".to_owned())),
            ("https://p", UrlError::NoPort),
            ("socks5+tls://p", UrlError::NoPort),
            ("tcp://p", UrlError::NoPort),
            ("socks5://", UrlError::Host),
            ("socks5://::1", UrlError::Host),
            ("http://[::1]", UrlError::NoPort),
            ("http://p:0", UrlError::Port),
            ("http://p:70000", UrlError::Port),
            ("http://p:+80", UrlError::Port),
            ("http://p:80/path", UrlError::Trailing),
            ("http://u@p:80", UrlError::NoPassword),
            ("http://u:%zz@p:80", UrlError::Encoding),
            ("http://u:%+5@p:80", UrlError::Encoding),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn credentials_that_the_protocol_cannot_carry_are_refused() {
        let long = "x".repeat(256);
        assert!(sendable(UpstreamKind::Socks5, "u", Some("")).is_err());
        assert!(sendable(UpstreamKind::Socks5, "u", Some(&long)).is_err());
        assert!(sendable(UpstreamKind::Http, "u:v", None).is_err());
        assert!(sendable(UpstreamKind::Http, "u", Some("a\nb")).is_err());
        assert!(sendable(UpstreamKind::Http, "u", Some("")).is_ok());
    }
}
