//! What every netfilter method needs of a host.

use steer_core::host::{Host, Namespace, Presence};
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

use crate::backend::Filter;

/// What rules for the intent's scope need, whatever they do.
pub fn common(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let mut needs = vec![net_admin(host), Filter::of(intent, host).requirement(host)];
    needs.extend(cgroups(intent, host));
    needs.extend(namespace(intent, host));
    needs.extend(interfaces(intent, host));
    needs
}

/// The same, and what handing packets to transparent sockets needs.
pub fn transparent(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let mut needs = common(intent, host);
    needs.push(Filter::of(intent, host).transparency(host));
    needs
}

/// What changing the network needs.
pub fn net_admin(host: &Host) -> Requirement {
    Requirement::new(
        "CAP_NET_ADMIN",
        host.net_admin.clone(),
        "run it as root (`sudo steer …`), or give the container `--cap-add NET_ADMIN`; \
         without privileges `-m env` steers programs that honour proxy variables",
    )
}

fn cgroups(intent: &Intent, host: &Host) -> Option<Requirement> {
    let wanted = intent.scope.command
        || !intent.scope.of.cgroup.is_empty()
        || !intent.scope.except.cgroup.is_empty();
    let presence = match (&host.cgroup2, &host.own_cgroup) {
        (Presence::Present, None) if intent.scope.command => {
            Presence::Unknown("this process's own cgroup could not be read".to_owned())
        }
        (presence, _) => presence.clone(),
    };
    wanted.then(|| {
        Requirement::new(
            "the unified cgroup hierarchy (cgroup2)",
            presence,
            "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`, or scope by uid instead",
        )
    })
}

/// The namespace of the scope, where one is written.
pub fn namespace(intent: &Intent, host: &Host) -> Option<Requirement> {
    let name = intent.scope.of.netns.as_ref()?;
    let presence = match host.netns.get(name) {
        Some(Namespace::At(_)) => Presence::Present,
        Some(Namespace::Absent(why)) => Presence::Absent(why.clone()),
        None => Presence::Absent("it was not looked for".to_owned()),
    };
    Some(Requirement::new(
        format!("the network namespace {name}"),
        presence,
        "name one that is there: a path (`ls /run/netns`), the process id of a program in it, or a \
         running container (`podman ps`)",
    ))
}

/// One requirement for each interface that is named.
fn interfaces(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let scope = &intent.scope;
    let names = scope.of.interface.iter().chain(&scope.except.interface);
    names
        .map(|name| {
            let presence = match host.interfaces.iter().any(|i| i.name == *name) {
                true => Presence::Present,
                false => Presence::Absent("there is none of that name".to_owned()),
            };
            Requirement::new(
                format!("the interface {name}"),
                presence,
                "name one that is there: `ip -br link`",
            )
        })
        .collect()
}
