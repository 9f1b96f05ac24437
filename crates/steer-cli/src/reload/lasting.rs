//! What stays as it was at the start, by the keys that say it.

use steer::auto;
use steer::core::config::Config;
use steer::core::engaged;
use steer::core::intent::{Intent, Listen, Resolve, Scope, Traffic};
use steer::core::method::Method;

use super::is_served_by;
use crate::failure::Failure;
use crate::steering::Decided;

/// What to do about a key that stays.
pub(crate) const RESTART: &str = "restart steer to change it; what was in force is";

/// Refuses a change of these keys.
pub(crate) fn failure(keys: &[&str]) -> Failure {
    let these = match keys.len() {
        1 => "is",
        _ => "are",
    };
    Failure::plain(
        format!(
            "{} {these} not what steer was started with, and cannot change while it runs",
            keys.join(", ")
        ),
        RESTART,
    )
}

/// The keys that another intent changes and that nothing reads again.
pub(crate) fn keys(before: &Decided, next: &Intent) -> Vec<&'static str> {
    let plan = &before.choice.plan;
    // Taken apart, so that a key that comes to be has its say here.
    let Intent {
        instance,
        scope: Scope {
            command: _,
            of,
            except,
        },
        traffic: traffic @ Traffic { dns, .. },
        on_failure,
        forward,
        listen:
            Listen {
                outbound,
                inbound,
                dns: listen_dns,
                explicit,
                external,
                auth,
                proxy_protocol,
            },
        bypass,
        steer,
        source,
        dial,
        resolve: Resolve {
            resolver,
            fake,
            rebind,
        },
        backend,
        confine,
        link,
        relay,
        proxied: _,
        identify: _,
    } = &before.intent;
    let explicitly = is_served_by(plan, Method::Explicit);
    let protocols = (&traffic.include.protocols, &traffic.exclude.protocols);
    let next_protocols = (
        &next.traffic.include.protocols,
        &next.traffic.exclude.protocols,
    );
    let told = [
        ("name", *instance != next.instance),
        (
            "scope.netns",
            of.netns != next.scope.of.netns || except.netns != next.scope.except.netns,
        ),
        ("traffic.dns", *dns != next.traffic.dns),
        // Whoever learns the addresses of names, or makes them up, knows those that were written.
        (
            "traffic.include.domains",
            traffic.include.domains != next.traffic.include.domains,
        ),
        (
            "traffic.exclude.domains",
            traffic.exclude.domains != next.traffic.exclude.domains,
        ),
        (
            "on_failure, beside traffic domains",
            !plan.followed().is_empty() && *on_failure != next.on_failure,
        ),
        (
            "traffic protocols",
            explicitly && protocols != next_protocols,
        ),
        ("forward", *forward != next.forward),
        ("listen.outbound", *outbound != next.listen.outbound),
        ("listen.inbound", *inbound != next.listen.inbound),
        ("listen.dns", *listen_dns != next.listen.dns),
        ("listen.explicit", *explicit != next.listen.explicit),
        ("listen.external", *external != next.listen.external),
        ("listen.auth", *auth != next.listen.auth),
        (
            "listen.proxy_protocol",
            *proxy_protocol != next.listen.proxy_protocol,
        ),
        ("mark.bypass", *bypass != next.bypass),
        ("mark.steer", *steer != next.steer),
        ("source", *source != next.source),
        ("dial", *dial != next.dial),
        ("dns.resolver", *resolver != next.resolve.resolver),
        ("dns.fake_ip", *fake != next.resolve.fake),
        ("dns.rebind", *rebind != next.resolve.rebind),
        ("backend", *backend != next.backend),
        ("netns", *confine != next.confine),
        ("device", *link != next.link),
        ("relay", *relay != next.relay),
    ];
    let changed = told.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key).collect()
}

/// The keys about those who look on that another config changes: they are served as at the start.
pub(crate) fn onlookers(before: &Config, next: &Config) -> Vec<&'static str> {
    let told = [
        ("metrics", before.metrics != next.metrics),
        ("events", before.events != next.events),
    ];
    let changed = told.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key).collect()
}

/// Refuses a plan that would open or close what lasts: names the keys that ask for it.
pub(crate) fn blamed(before: &Decided, next: &Decided, what: &str) -> Failure {
    let guilty: Vec<&str> = PARTS
        .iter()
        .filter(|(_, take)| {
            let mut alone = before.intent.clone();
            take(&mut alone, &next.intent);
            let method = [before.choice.steerer.method()];
            let plan = auto::choose(&method, &alone, &next.host);
            plan.is_ok_and(|choice| engaged::lasting(&before.choice.plan, &choice.plan).is_some())
        })
        .map(|(key, _)| *key)
        .collect();
    let first = what.lines().next().unwrap_or_default();
    if guilty.is_empty() {
        return Failure::plain(
            format!("what was read needs other than what steer was started with: {first}"),
            RESTART,
        );
    }
    Failure::plain(
        format!(
            "{} cannot change so while steer runs, for what lasts as long as it does: {first}",
            guilty.join(", ")
        ),
        RESTART,
    )
}

/// Takes one key of another intent.
type Take = fn(&mut Intent, &Intent);

/// The keys that are read again.
const PARTS: [(&str, Take); 9] = [
    ("scope", |to, from| to.scope.of = from.scope.of.clone()),
    ("scope.except", |to, from| {
        to.scope.except = from.scope.except.clone();
    }),
    ("traffic.include.protocols", |to, from| {
        to.traffic.include.protocols = from.traffic.include.protocols.clone();
    }),
    ("traffic.include.ports", |to, from| {
        to.traffic.include.ports = from.traffic.include.ports.clone();
    }),
    ("traffic.include.cidrs", |to, from| {
        to.traffic.include.cidrs = from.traffic.include.cidrs.clone();
    }),
    ("traffic.exclude", |to, from| {
        to.traffic.exclude = from.traffic.exclude.clone();
    }),
    ("traffic.loopback", |to, from| {
        to.traffic.loopback = from.traffic.loopback;
    }),
    ("traffic.quic", |to, from| {
        to.traffic.quic = from.traffic.quic
    }),
    ("on_failure", |to, from| to.on_failure = from.on_failure),
];
