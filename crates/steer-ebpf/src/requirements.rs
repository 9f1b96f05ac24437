//! What the method needs of a host.

use steer_core::host::{Host, Namespace, Presence};
use steer_core::intent::{Intent, Selector};
use steer_core::requirement::Requirement;

/// What hooks for the intent's scope need.
pub(crate) fn of(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let mut needs = vec![
        Requirement::new(
            "CAP_BPF and CAP_PERFMON",
            host.bpf.clone(),
            "run it as root (`sudo steer …`), or give the container `--cap-add BPF --cap-add \
             PERFMON --cap-add NET_ADMIN`; a kernel that is locked down (`cat /sys/kernel/security/lockdown`) loads \
             no programs: use tproxy or redirect there",
        ),
        Requirement::new(
            "CAP_NET_ADMIN",
            host.net_admin.clone(),
            "run it as root (`sudo steer …`), or give the container `--cap-add NET_ADMIN`",
        ),
        kernel(host),
    ];
    if !intent.scope.of.inbound {
        needs.push(Requirement::new(
            "the unified cgroup hierarchy (cgroup2)",
            match (&host.cgroup2, &host.own_cgroup) {
                (Presence::Present, None) if intent.scope.command => {
                    Presence::Unknown("this process's own cgroup could not be read".to_owned())
                }
                (presence, _) => presence.clone(),
            },
            "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ));
    }
    needs.extend(namespace(&intent.scope.of, host));
    needs.extend(processes(&intent.scope.of, host));
    needs
}

/// The oldest kernel with every hook and helper that the programs use: `bpf_set_retval` in hooks of
/// addresses.
fn kernel(host: &Host) -> Requirement {
    let mut numbers = host.kernel.split(['.', '-', '+']);
    let mut next = || numbers.next().and_then(|part| part.parse::<u32>().ok());
    let presence = match (next(), next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Presence::Present,
        (Some(_), Some(_)) => Presence::Absent(format!("this is {}", host.kernel)),
        _ => Presence::Unknown(format!("{:?} is no release", host.kernel)),
    };
    let (major, minor) = OLDEST;
    Requirement::new(
        format!("Linux {major}.{minor}"),
        presence,
        "use tproxy or redirect, which older kernels have",
    )
}

fn namespace(of: &Selector, host: &Host) -> Option<Requirement> {
    let name = of.netns.as_ref()?;
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

/// One requirement for each process that is named.
fn processes(of: &Selector, host: &Host) -> Vec<Requirement> {
    let each = of.pid.iter().map(|pid| {
        let presence = match host.processes.get(pid) {
            Some(Some(_)) => Presence::Present,
            Some(None) => Presence::Absent("there is none of that number".to_owned()),
            None => Presence::Absent("it was not looked for".to_owned()),
        };
        Requirement::new(
            format!("the process {pid}"),
            presence,
            "name one that runs: `pgrep -a NAME`",
        )
    });
    each.collect()
}

const OLDEST: (u32, u32) = (6, 1);
