//! The proxy variables, in forms that all their readers take alike.
//!
//! They differ in which case of a name wins, so both cases carry the same value; Python knows no
//! `*.name` and no networks in `no_proxy`, Go does not take `.name` for `name` itself.

mod java;
mod table;

use std::net::{IpAddr, SocketAddr};

use steer_core::address::{HostName, HostPattern};
use steer_core::intent::{Intent, Traffic};
use steer_core::object::ChildSetting;
use steer_core::symbol::{ListenerId, PortRef};

pub use table::{VARIABLES, Value, Variable};

/// The settings of a command whose traffic goes to the listener at an address.
pub(crate) fn settings(
    intent: &Intent,
    address: IpAddr,
    listener: &ListenerId,
) -> Vec<ChildSetting> {
    let port = format!("{{{listener}}}");
    // Any IP address shows in a URL as the host part of a socket address does.
    let host = SocketAddr::new(address, 0).to_string();
    let host = host.trim_end_matches(":0");
    let login = intent.listen.auth.as_ref();
    let no_proxy = no_proxy(&intent.traffic);
    let setting = |variable: &Variable, name: &str| {
        let name = name.to_owned();
        let value = match variable.value {
            Value::Proxy => match login {
                None => format!("http://{host}:{port}"),
                Some(login) => {
                    return Some(ChildSetting::ProxyEnv {
                        name,
                        address,
                        port: PortRef::Listener(listener.clone()),
                        login: login.clone(),
                    });
                }
            },
            Value::NoProxy => no_proxy.clone(),
            Value::Text(text) => text.to_owned(),
            Value::HostPort if login.is_some() || address.is_ipv6() => return None,
            Value::HostPort => format!("{host}:{port}"),
            Value::Java if login.is_some() => return None,
            Value::Java => {
                let value = java::options(address, &port, apexes(&intent.traffic));
                return Some(ChildSetting::Append { name, value });
            }
        };
        Some(ChildSetting::Env { name, value })
    };
    VARIABLES
        .iter()
        .flat_map(|variable| variable.names.iter().map(move |name| (variable, name)))
        .filter_map(|(variable, name)| setting(variable, name))
        .collect()
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
    for apex in apexes(traffic) {
        entries.extend([apex.to_owned(), format!(".{apex}")]);
    }
    entries.join(",")
}

/// The names that are excluded with all below them, each once.
fn apexes(traffic: &Traffic) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = Vec::new();
    for pattern in &traffic.exclude.domains {
        let name = apex(pattern).as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter()
}

const fn apex(pattern: &HostPattern) -> &HostName {
    match pattern {
        HostPattern::Exact(name) | HostPattern::Below(name) => name,
    }
}

/// Loopback as each program wants it: Python compares text, Go and curl know networks. An IPv6
/// address in brackets, as Python's urllib would have it, is a fault to others (httpx).
const LOOPBACK: [&str; 4] = ["localhost", "127.0.0.1", "127.0.0.0/8", "::1"];

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
            "localhost,127.0.0.1,127.0.0.0/8,::1,lan,.lan"
        );
    }

    fn named(intent: &Intent, address: &str) -> Vec<(String, String)> {
        let listener = ListenerId("explicit".to_owned());
        let settings = settings(intent, address.parse().unwrap(), &listener);
        let pair = |setting| match setting {
            ChildSetting::Env { name, value } | ChildSetting::Append { name, value } => {
                (name, value)
            }
            other => (String::new(), format!("{other:?}")),
        };
        settings.into_iter().map(pair).collect()
    }

    fn intent() -> Intent {
        use steer_core::instance::Instance;
        use steer_core::intent::Scope;
        Intent::new(Instance::new("main").unwrap(), Scope::command())
    }

    #[test]
    fn java_gets_properties_for_urls_and_sockets_and_its_own_form_of_exceptions() {
        let mut intent = intent();
        intent.traffic = excluding(&["lan", "*.lan"]);
        let options = named(&intent, "127.0.0.1").pop().unwrap();
        let left = "localhost|127.*|[::1]|[0:0:0:0:0:0:0:1]|lan|*.lan";
        assert_eq!(
            options,
            (
                "JAVA_TOOL_OPTIONS".to_owned(),
                format!(
                    "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={{explicit}} \
                     -Dhttp.nonProxyHosts={left} -Dhttps.proxyHost=127.0.0.1 \
                     -Dhttps.proxyPort={{explicit}} -Dftp.proxyHost=127.0.0.1 \
                     -Dftp.proxyPort={{explicit}} -Dftp.nonProxyHosts={left} \
                     -DsocksProxyHost=127.0.0.1 -DsocksProxyPort={{explicit}} \
                     -DsocksNonProxyHosts={left}"
                )
            )
        );
    }

    #[test]
    fn whoever_cannot_use_the_port_gets_no_variable() {
        use steer_core::policy::{Credentials, Secret};
        let has = |intent: &Intent, address| {
            let names: Vec<_> = named(intent, address).into_iter().map(|v| v.0).collect();
            ["RSYNC_PROXY", "JAVA_TOOL_OPTIONS"].map(|name| names.iter().any(|n| n == name))
        };
        let mut intent = intent();
        assert_eq!(has(&intent, "127.0.0.1"), [true, true]);
        assert_eq!(has(&intent, "::1"), [false, true]);
        intent.listen.auth = Some(Credentials {
            username: "ann".to_owned(),
            password: Secret::Literal("pw".to_owned()),
        });
        assert_eq!(has(&intent, "127.0.0.1"), [false, false]);
    }

    #[test]
    fn no_variable_is_listed_twice() {
        let mut names: Vec<_> = VARIABLES.iter().flat_map(|v| v.names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
