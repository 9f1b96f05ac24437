//! What cannot stand together, and what means nothing alone.

use steer_core::address::Protocol;
use steer_core::host::Host;
use steer_core::intent::{Dns, Intent, Selector};
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::steerer::{PlanError, names};

use crate::abi::LIST;

/// Every check of an intent that was admitted.
pub(super) fn all(intent: &Intent, host: &Host) -> Result<(), PlanError> {
    scope(intent)?;
    lists(intent)?;
    external(intent)?;
    names::check(intent, names::resolver_here(intent, host))
}

fn scope(intent: &Intent) -> Result<(), PlanError> {
    let (of, except) = (&intent.scope.of, &intent.scope.except);
    let command = intent.scope.command;
    if of.inbound {
        let mut keys = vec![Key::Inbound];
        keys.extend(command.then_some(Key::Command));
        keys.extend(senders(of));
        keys.extend(senders(except));
        if keys.len() > 1 {
            return together(
                keys,
                "connections of other machines were opened by no program of this host",
            );
        }
        inbound(intent)?;
    }
    if command && of.netns.is_some() {
        return together(
            vec![Key::Command, Key::Netns],
            "the command starts in the namespace that steer was started in",
        );
    }
    if !of.pid.is_empty() && (command || !of.cgroup.is_empty()) {
        let other = if command { Key::Command } else { Key::Cgroup };
        return together(
            vec![other, Key::Pid],
            "running processes are told by a cgroup that is made for them",
        );
    }
    let keys: Vec<_> = [
        (except.host, Key::Host),
        (!except.pid.is_empty(), Key::Pid),
        (except.netns.is_some(), Key::Netns),
        (except.inbound, Key::Inbound),
    ]
    .into_iter()
    .filter_map(|(written, key)| written.then_some(key))
    .collect();
    if !keys.is_empty() {
        return together(
            keys,
            "scope.except subtracts cgroups, users, groups and names of processes from a scope",
        );
    }
    Ok(())
}

/// The lookup of sockets knows ports, and has one port to give connections to.
fn inbound(intent: &Intent) -> Result<(), PlanError> {
    let traffic = &intent.traffic;
    let filters = [&traffic.include, &traffic.exclude];
    let any = |test: fn(&steer_core::intent::Filter) -> bool| filters.iter().any(|f| test(f));
    let udp = |protocols: &[Protocol]| protocols.contains(&Protocol::Udp);
    let written = [
        (udp(&traffic.include.protocols), Key::Udp),
        (any(|f| !f.cidrs.is_empty()), Key::Cidrs),
        (!traffic.include.domains.is_empty(), Key::IncludeDomains),
        (!traffic.exclude.domains.is_empty(), Key::ExcludeDomains),
        (traffic.dns == Some(Dns::Capture), Key::DnsCapture),
        (intent.listen.external.is_some(), Key::ListenExternal),
    ];
    let keys: Vec<_> = written
        .into_iter()
        .filter_map(|(written, key)| written.then_some(key))
        .collect();
    if !keys.is_empty() {
        return together(
            [vec![Key::Inbound], keys].concat(),
            "of what comes in, TCP connections are chosen by their port",
        );
    }
    if traffic.exclude.protocols.contains(&Protocol::Tcp) {
        return Err(PlanError::Nothing {
            why: "TCP is excluded, and of what comes in ebpf steers nothing else".to_owned(),
        });
    }
    Ok(())
}

fn lists(intent: &Intent) -> Result<(), PlanError> {
    for selector in [&intent.scope.of, &intent.scope.except] {
        for (key, count) in [
            (Key::Uid, selector.uid.len()),
            (Key::Gid, selector.gid.len()),
            (Key::CommandName, selector.command.len()),
            (Key::Pid, selector.pid.len()),
            (Key::Cgroup, selector.cgroup.len()),
        ] {
            if count > LIST {
                return Err(PlanError::TooMany {
                    method: Method::Ebpf,
                    key,
                    count,
                    most: LIST,
                });
            }
        }
    }
    Ok(())
}

/// Another proxy is given connections, and everything else is its own affair.
fn external(intent: &Intent) -> Result<(), PlanError> {
    if intent.listen.external.is_none() {
        return Ok(());
    }
    let traffic = &intent.traffic;
    let listen = &intent.listen;
    let written = [
        (traffic.include.protocols.contains(&Protocol::Udp), Key::Udp),
        (traffic.dns == Some(Dns::Capture), Key::DnsCapture),
        (intent.resolve.fake.is_some(), Key::FakeIp),
        (intent.resolve.resolver.is_some(), Key::Resolver),
        (intent.dial.is_some(), Key::Dial),
        (listen.outbound.is_some(), Key::ListenOutbound),
        (listen.inbound.is_some(), Key::ListenInbound),
        (listen.dns.is_some(), Key::ListenDns),
    ];
    let keys: Vec<_> = written
        .into_iter()
        .filter_map(|(written, key)| written.then_some(key))
        .collect();
    if !keys.is_empty() {
        return together(
            [keys, vec![Key::ListenExternal]].concat(),
            "another proxy takes the connections in the place of the engine",
        );
    }
    if traffic.exclude.protocols.contains(&Protocol::Tcp) {
        return Err(PlanError::Nothing {
            why: "TCP is excluded, and another proxy is given nothing else".to_owned(),
        });
    }
    let chosen = intent.scope.command || intent.scope.of.narrows();
    if !chosen && !intent.scope.except.narrows() {
        return Err(PlanError::Without {
            key: Key::ListenExternal,
            needs: "`scope.except` with the uid, cgroup or command of the other proxy (what it \
                    dials would come back to it)",
        });
    }
    Ok(())
}

/// The written keys that name programs of this host.
fn senders(selector: &Selector) -> Vec<Key> {
    [
        (selector.host, Key::Host),
        (!selector.cgroup.is_empty(), Key::Cgroup),
        (!selector.uid.is_empty(), Key::Uid),
        (!selector.gid.is_empty(), Key::Gid),
        (!selector.command.is_empty(), Key::CommandName),
        (!selector.pid.is_empty(), Key::Pid),
    ]
    .into_iter()
    .filter_map(|(written, key)| written.then_some(key))
    .collect()
}

fn together(mut keys: Vec<Key>, why: &str) -> Result<(), PlanError> {
    keys.sort_unstable();
    keys.dedup();
    Err(PlanError::Together {
        keys,
        why: why.to_owned(),
    })
}
