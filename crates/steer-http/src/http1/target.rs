//! Which host a request is for, and how that is written.

use crate::error::Malformed;
use crate::message::{Request, Version};

use super::framing::Facts;

/// The authority of a request: of the target where it names one, else of the field `host`.
pub(super) fn authority<'a>(
    method: &str,
    target: &'a str,
    version: Version,
    facts: &Facts<'a>,
) -> Result<Option<&'a str>, Malformed> {
    let host = match facts.hosts {
        0 if version == Version::Http10 => None,
        1 => Some(std::str::from_utf8(facts.host).map_err(|_| Malformed::Host)?),
        _ => return Err(Malformed::Host),
    };
    if !host.is_none_or(is_authority) {
        return Err(Malformed::Host);
    }
    if method == "CONNECT" {
        let (name, port) = target.rsplit_once(':').ok_or(Malformed::StartLine)?;
        if name.is_empty() || !is_authority(target) || port.parse::<u16>().is_err() {
            return Err(Malformed::StartLine);
        }
        let same =
            |host: &str| host.eq_ignore_ascii_case(target) || host.eq_ignore_ascii_case(name);
        return told(target, host.is_none_or(same));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(host.filter(|host| !host.is_empty()));
    }
    let (scheme, written) = split(target).ok_or(Malformed::StartLine)?;
    let named = match written.split_once('@') {
        Some((_, named)) => named,
        None => written,
    };
    if named.is_empty() || !is_authority(named) {
        return Err(Malformed::StartLine);
    }
    let same = |host: &str| {
        without_default(host, scheme).eq_ignore_ascii_case(without_default(named, scheme))
    };
    told(named, host.is_none_or(same))
}

fn told(authority: &str, same: bool) -> Result<Option<&str>, Malformed> {
    if same {
        Ok(Some(authority))
    } else {
        Err(Malformed::OtherHost)
    }
}

/// Scheme and authority, with user information, of a target in absolute form.
fn split(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || !scheme.chars().all(of_scheme) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some((scheme, &rest[..end]))
}

fn without_default<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let port = match scheme {
        s if s.eq_ignore_ascii_case("http") => ":80",
        s if s.eq_ignore_ascii_case("https") => ":443",
        _ => "",
    };
    match authority.strip_suffix(port) {
        Some(name) => name,
        None => authority,
    }
}

/// Whether a text holds only what a host and a port are written with; no list, no user.
fn is_authority(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte);
    text.bytes().all(allowed)
}

/// Writes a changed authority where the one before came from.
pub(super) fn settle(request: &mut Request, before: Option<&[u8]>) {
    let Some(authority) = &request.authority else {
        return;
    };
    if Some(authority.as_bytes()) == before {
        return;
    }
    if request.method == "CONNECT" {
        request.target.clone_from(authority);
    } else if let Some((scheme, written)) = split(&request.target) {
        let rest = &request.target[scheme.len() + "://".len() + written.len()..];
        request.target = format!("{scheme}://{authority}{rest}");
    }
    request.fields.set("Host", authority.clone());
}

/// A target as a proxy is told it.
pub(super) fn absolute(request: &Request) -> Option<String> {
    let authority = request.authority.as_deref()?;
    match request.target.as_str() {
        "*" => Some(format!("http://{authority}")),
        path if path.starts_with('/') => Some(format!("http://{authority}{path}")),
        _ => None,
    }
}
