//! The properties that bring a Java virtual machine to the port.
//!
//! `http.*`, `https.*` and `ftp.*` are for URLs, whose names the port then gets; `socks*` is for
//! plain sockets, as database drivers have them. JAVA_TOOL_OPTIONS rather than JDK_JAVA_OPTIONS:
//! the latter is read by the launcher `java` alone, and both are told on stderr.

use std::fmt::Display;
use std::net::IpAddr;

/// The options; `port` may be a symbol of a plan.
///
/// The words hold neither blanks nor quotes, so that the virtual machine splits them as they are:
/// names are host names, and addresses come without brackets.
pub(super) fn options<'a>(
    address: IpAddr,
    port: &dyn Display,
    excluded: impl Iterator<Item = &'a str>,
) -> String {
    let mut left: Vec<_> = LOOPBACK.iter().map(|&host| host.to_owned()).collect();
    for name in excluded {
        left.extend([name.to_owned(), format!("*.{name}")]);
    }
    let left = left.join("|");
    let mut words = Vec::new();
    for (kind, exceptions) in KINDS {
        let dot = if kind == "socks" { "P" } else { ".p" };
        words.push(format!("-D{kind}{dot}roxyHost={address}"));
        words.push(format!("-D{kind}{dot}roxyPort={port}"));
        if let Some(property) = exceptions {
            words.push(format!("-D{property}={left}"));
        }
    }
    words.join(" ")
}

/// Kinds of proxies, and the property that says what is left out of each; that of https is
/// http's.
const KINDS: [(&str, Option<&str>); 4] = [
    ("http", Some("http.nonProxyHosts")),
    ("https", None),
    ("ftp", Some("ftp.nonProxyHosts")),
    ("socks", Some("socksNonProxyHosts")),
];

/// Loopback as Java writes it; what is set replaces its own list.
const LOOPBACK: [&str; 4] = ["localhost", "127.*", "[::1]", "[0:0:0:0:0:0:0:1]"];
