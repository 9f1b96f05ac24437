//! A command in namespaces of its own, with variables that lead out of them: those of an outer
//! `steer run`, or of a proxy on this host.

use std::collections::BTreeMap;
use std::env;
use std::net::IpAddr;

use steer::core::intent::{Intent, Loopback};
use steer::core::object::{ChildSetting, Object};
use steer::core::plan::Plan;

use crate::failure::Failure;
use crate::say;

/// Refuses what an outer library would keep from connecting, and says which proxies the command
/// will not reach.
pub(crate) fn check(intent: &Intent, plan: &Plan) -> Result<(), Failure> {
    let apart = plan.namespace().is_some();
    let supervised = plan
        .objects
        .iter()
        .any(|p| matches!(p.object, Object::Child(ChildSetting::Supervised { .. })));
    let sets = |name: &str| {
        plan.objects.iter().any(|p| match &p.object {
            Object::Child(ChildSetting::Env { name: set, .. }) => set == name,
            _ => false,
        })
    };
    let outer = env::var_os(LIBRARY).is_some_and(|value| !value.is_empty());
    let why = match (apart, supervised) {
        (true, _) => "would ask its own engine, which is not reached from other namespaces",
        (false, true) => "takes connections to its own engine before a supervisor sees them",
        (false, false) => return Ok(()),
    };
    if outer && !sets(LIBRARY) {
        return Err(Failure::plain(
            format!(
                "the method {} cannot be used in `steer run -m preload`: the library there {why}",
                plan.method
            ),
            "turn the two round (`-m preload` inside), or use `-m preload` here",
        ));
    }
    if !apart {
        return Ok(());
    }
    let written = PROXIES
        .into_iter()
        .filter(|name| !sets(name))
        .filter_map(|name| Some((name, env::var(name).ok()?)));
    for (port, names) in out_of_reach(intent, written) {
        say(&format_args!(
            "steer: {names}: port {port} of loopback is the command's own; \
             --host-loopback={port} leads to this host's"
        ));
    }
    Ok(())
}

/// The ports of loopback that variables name and the command does not reach, each with the
/// variables.
fn out_of_reach<'a>(
    intent: &Intent,
    written: impl IntoIterator<Item = (&'a str, String)>,
) -> BTreeMap<u16, String> {
    let mut found = BTreeMap::<u16, String>::new();
    if intent.traffic.loopback == Some(Loopback::Steer) {
        return found;
    }
    let leads = &intent.confine.host_loopback;
    for (name, value) in written {
        let Some(port) = loopback_port(&value) else {
            continue;
        };
        if leads.iter().any(|range| range.contains(port)) {
            continue;
        }
        let names = found.entry(port).or_default();
        if !names.is_empty() {
            names.push_str(", ");
        }
        names.push_str(name);
    }
    found
}

/// The port of a proxy's URL at loopback.
fn loopback_port(url: &str) -> Option<u16> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let (host, port) = authority.rsplit('@').next()?.rsplit_once(':')?;
    let bare = host.trim_matches(['[', ']']);
    let local = match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => bare == "localhost",
    };
    local.then(|| port.parse().ok()).flatten()
}

/// What the library of the method preload is told.
const LIBRARY: &str = "STEER_PRELOAD";
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
];

#[cfg(test)]
mod tests {
    use steer::core::instance::Instance;
    use steer::core::intent::Scope;

    use super::*;

    #[test]
    fn proxies_at_loopback_are_told_by_port_unless_they_are_let_in() {
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        let written = || {
            [
                ("http_proxy", "http://127.0.0.1:3128/"),
                ("https_proxy", "http://user:p@localhost:3128"),
                ("ALL_PROXY", "socks5h://[::1]:1080"),
                ("ftp_proxy", "http://192.0.2.1:3128"),
                ("HTTP_PROXY", "nonsense"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
        };
        let found = out_of_reach(&intent, written());
        let expected = [(1080, "ALL_PROXY"), (3128, "http_proxy, https_proxy")];
        let expected = expected.map(|(port, names)| (port, names.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
        intent.confine.host_loopback = vec!["1-65535".parse().unwrap()];
        assert!(out_of_reach(&intent, written()).is_empty());
    }
}
