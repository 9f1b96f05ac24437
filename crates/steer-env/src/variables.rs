//! The proxy variables, in forms that Python, Go and curl read alike.
//!
//! They differ in which case of a name wins, so both cases carry the same value; Python knows no
//! `*.name` and no networks in `no_proxy`, Go does not take `.name` for `name` itself.

use std::net::{IpAddr, SocketAddr};

use steer_core::address::{HostName, HostPattern};
use steer_core::intent::{Intent, Traffic};
use steer_core::object::ChildSetting;
use steer_core::symbol::{ListenerId, PortRef};

/// The settings of a command whose traffic goes to the listener at an address.
pub(crate) fn settings(
    intent: &Intent,
    address: IpAddr,
    listener: &ListenerId,
) -> Vec<ChildSetting> {
    let mut settings = Vec::new();
    for name in PROXIES {
        for name in [name.to_owned(), name.to_ascii_uppercase()] {
            settings.push(match &intent.listen.auth {
                None => ChildSetting::Env {
                    name,
                    // Any IP address shows in a URL as the host part of a socket address does.
                    value: format!(
                        "http://{}:{{{listener}}}",
                        SocketAddr::new(address, 0)
                            .to_string()
                            .trim_end_matches(":0")
                    ),
                },
                Some(login) => ChildSetting::ProxyEnv {
                    name,
                    address,
                    port: PortRef::Listener(listener.clone()),
                    login: login.clone(),
                },
            });
        }
    }
    let value = no_proxy(&intent.traffic);
    for name in ["no_proxy", "NO_PROXY"] {
        settings.push(ChildSetting::Env {
            name: name.to_owned(),
            value: value.clone(),
        });
    }
    settings.push(ChildSetting::Env {
        name: "NODE_USE_ENV_PROXY".to_owned(),
        value: "1".to_owned(),
    });
    settings
}

/// The excluded names that `no_proxy` cannot say: it leaves out a name and all below it, or
/// nothing.
pub(crate) fn inexpressible(traffic: &Traffic) -> Vec<&HostPattern> {
    let patterns = &traffic.exclude.domains;
    patterns
        .iter()
        .filter(|pattern| {
            let apex = apex(pattern);
            let excluded = patterns.iter().any(|other| other.matches(apex));
            let below = patterns
                .iter()
                .any(|other| matches!(other, HostPattern::Below(name) if name == apex || other.matches(apex)));
            !(excluded && below)
        })
        .collect()
}

fn no_proxy(traffic: &Traffic) -> String {
    let mut entries: Vec<String> = LOOPBACK.iter().map(|&s| s.to_owned()).collect();
    for pattern in &traffic.exclude.domains {
        for entry in [apex(pattern).to_string(), format!(".{}", apex(pattern))] {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    }
    entries.join(",")
}

const fn apex(pattern: &HostPattern) -> &HostName {
    match pattern {
        HostPattern::Exact(name) | HostPattern::Below(name) => name,
    }
}

/// Variables that name a proxy; all take `http://`, which Python without further packages, Go and
/// curl speak, `all_proxy` too.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy"];

/// Loopback as each program wants it: Python compares text and keeps an IPv6 address's brackets,
/// Go and curl know networks.
const LOOPBACK: [&str; 5] = ["localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]"];

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::intent::Filter;

    fn excluding(domains: &[&str]) -> Traffic {
        Traffic {
            exclude: Filter {
                domains: domains.iter().map(|d| d.parse().unwrap()).collect(),
                ..Filter::default()
            },
            ..Traffic::default()
        }
    }

    #[test]
    fn a_name_and_all_below_it_can_be_left_out_and_neither_alone() {
        for (domains, left) in [
            (&["lan", "*.lan"][..], &[][..]),
            (&["*.lan", "db.lan", "lan"], &[]),
            (&["lan", "*.lan", "*.db.lan"], &[]),
            (&["lan"], &["lan"]),
            (&["*.lan"], &["*.lan"]),
            (&["lan", "*.lan", "other"], &["other"]),
            (&["lan", "*.plan"], &["lan", "*.plan"]),
        ] {
            let traffic = excluding(domains);
            let found: Vec<_> = inexpressible(&traffic)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, left, "{domains:?}");
        }
    }

    #[test]
    fn no_proxy_lists_loopback_and_each_name_plain_and_dotted() {
        assert_eq!(
            no_proxy(&excluding(&["lan", "*.lan"])),
            "localhost,127.0.0.1,127.0.0.0/8,::1,[::1],lan,.lan"
        );
    }
}
