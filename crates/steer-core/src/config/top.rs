//! The whole configuration: its sections, and what one of them says about another.

use std::collections::HashSet;

use super::document::{Node, Span};
use super::fault::Fault;
use super::listen::Listeners;
use super::nearest::nearest;
use super::report::Report;
use super::rule::Rules;
use super::section::{Keys, Section};
use super::upstream::Upstreams;
use super::{
    Config, MethodChoice, choice, device, dns, log, mark, metrics, netns, rule, scope, tls,
    traffic, upstream, value,
};
use crate::intent::{Backend, Dial, Dns, Relay, Source, Traffic};
use crate::method::Method;
use crate::policy::Policy;

/// Reads the whole configuration, noting all that is wrong.
pub(super) fn read(root: &Node, report: &mut Report<'_>) -> Option<Config> {
    let top = Section::open(root, "", KEYS, report)?;
    let name = top
        .at("name")
        .and_then(|node| value::parsed(node, "name", "an instance name", Fault::Instance, report));
    let method = top.at("method").and_then(|node| choice::read(node, report));
    let backend = top.at("backend").and_then(|node| {
        let words = [
            ("nft", Backend::Nft),
            ("iptables", Backend::Iptables),
            ("iptables-legacy", Backend::IptablesLegacy),
        ];
        let names = &["nft", "iptables", "iptables-legacy"];
        value::word(node, "backend", &words, names, report)
    });
    let scope = top.at("scope").and_then(|node| scope::read(node, report));
    let traffic = top
        .at("traffic")
        .and_then(|node| traffic::read(node, report));
    let on_failure = top
        .at("on_failure")
        .and_then(|node| traffic::on_failure(node, report));
    let mark = top.at("mark").and_then(|node| mark::read(node, report));
    let source = top.at("source").and_then(|node| {
        let words = [("engine", Source::Engine), ("client", Source::Client)];
        value::word(node, "source", &words, &["engine", "client"], report)
    });
    let dial = top.at("dial").and_then(|node| {
        let words = [("inside", Dial::Inside), ("outside", Dial::Outside)];
        value::word(node, "dial", &words, &["inside", "outside"], report)
    });
    let relay = top.at("relay").and_then(|node| {
        let words = [("always", Relay::Always), ("needed", Relay::Needed)];
        value::word(node, "relay", &words, &["always", "needed"], report)
    });
    let link = top.at("device").and_then(|node| device::read(node, report));
    let dns = top.at("dns").and_then(|node| dns::read(node, report));
    let log = top.at("log").and_then(|node| log::read(node, report));
    let mut listeners = Listeners::default();
    if let Some(node) = top.at("listen") {
        listeners.read_listen(node, report);
    }
    if let Some(node) = top.at("forward") {
        listeners.read_forward(node, report);
    }
    let confine = top
        .at("netns")
        .and_then(|node| netns::read(node, &mut listeners, report));
    let metrics = top
        .at("metrics")
        .and_then(|node| metrics::read(node, &mut listeners, report));
    let events = top
        .at("events")
        .and_then(|node| metrics::read_events(node, report));
    let tls = top.at("tls").and_then(|node| tls::read(node, report));
    let upstreams = match top.at("upstreams") {
        Some(node) => upstream::read(node, report),
        None => Upstreams::default(),
    };
    let rules = match top.at("rules") {
        Some(node) => rule::read(node, report),
        None => Rules::default(),
    };
    let dns = dns.unwrap_or_default();
    let traffic = traffic.unwrap_or_default();
    listeners.check(&upstreams.dialled, dns.asked().as_ref(), report);
    dns.check(&traffic.exclude.cidrs, report);
    needs(&top, root, &traffic, method.as_ref(), report);
    resolve(&listeners.references, &upstreams.names, report);
    resolve(&rules.references, &upstreams.names, report);
    resolve(&upstreams.references, &upstreams.names, report);
    Some(Config {
        name,
        method: method.unwrap_or_default(),
        backend,
        scope: scope.unwrap_or_default(),
        traffic,
        on_failure,
        forward: listeners.forward,
        listen: listeners.listen,
        mark: mark.unwrap_or_default(),
        source,
        dial,
        confine: confine.unwrap_or_default(),
        link: link.unwrap_or_default(),
        relay,
        resolve: dns.resolve,
        policy: Policy {
            upstreams: upstreams.read,
            rules: rules.read,
            tls: tls.unwrap_or_default(),
        },
        log: log.unwrap_or_default(),
        metrics,
        events,
    })
}

/// Notes keys that mean something beside another one only, unless that one was written wrongly.
fn needs(
    top: &Section<'_>,
    root: &Node,
    traffic: &Traffic,
    method: Option<&MethodChoice>,
    report: &mut Report<'_>,
) {
    let below = |section: &str, key: &str| root.entry(section).and_then(|node| node.entry(key));
    let by_method = match method.and_then(MethodChoice::preferred) {
        // `preload` answers lookups of programs itself.
        Some(methods) => {
            methods.is_empty()
                || methods.contains(&Method::Dns)
                || methods.contains(&Method::Preload)
        }
        None => false,
    };
    let by_traffic = match traffic.dns {
        Some(dns) => dns == Dns::Capture,
        None => below("traffic", "dns").is_some(),
    };
    let met = [
        ("dial", below("scope", "netns").is_some(), "`scope.netns`"),
        (
            "dns",
            by_traffic || by_method,
            "`traffic.dns: capture`, `method: dns` or `method: preload`",
        ),
    ];
    for (key, met, needs) in met {
        if let (Some(span), false) = (top.key_span(key), met) {
            report.fault(span, Fault::Needs { key, needs });
        }
    }
}

/// Notes every name of an upstream that is not defined.
fn resolve(references: &[(String, Span)], names: &[String], report: &mut Report<'_>) {
    let defined: HashSet<&str> = names.iter().map(String::as_str).collect();
    for (name, span) in references {
        if !defined.contains(name.as_str()) {
            let known = names.iter().map(String::as_str);
            let fault = Fault::UnknownUpstream {
                name: name.clone(),
                near: nearest(name, known).map(str::to_owned),
                known: names.to_vec(),
            };
            report.fault(span, fault);
        }
    }
}

/// The keys at the top.
const KEYS: Keys = Keys {
    known: &[
        "name",
        "method",
        "backend",
        "scope",
        "traffic",
        "on_failure",
        "upstreams",
        "rules",
        "tls",
        "forward",
        "listen",
        "mark",
        "source",
        "dial",
        "relay",
        "netns",
        "device",
        "dns",
        "log",
        "metrics",
        "events",
    ],
    unsupported: &["http"],
};
