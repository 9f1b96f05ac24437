use steer_core::host::{Host, Presence};
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

use crate::backend;

pub(super) fn of(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let mut needs = vec![
        Requirement::new(
            "CAP_NET_ADMIN",
            host.net_admin.clone(),
            "run it as root (`sudo steer …`), or give the container `--cap-add NET_ADMIN`; \
             without privileges `-m env` steers programs that honour proxy variables",
        ),
        backend::requirement(intent, host),
    ];
    let wants_cgroup = intent.scope.command
        || !intent.scope.of.cgroup.is_empty()
        || !intent.scope.except.cgroup.is_empty();
    if wants_cgroup {
        let presence = match (&host.cgroup2, &host.own_cgroup) {
            (Presence::Present, None) if intent.scope.command => {
                Presence::Unknown("this process's own cgroup could not be read".to_owned())
            }
            (presence, _) => presence.clone(),
        };
        needs.push(Requirement::new(
            "the unified cgroup hierarchy (cgroup2)",
            presence,
            "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`, or scope by uid instead",
        ));
    }
    needs
}
