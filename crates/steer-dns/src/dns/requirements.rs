use steer_core::address::Family;
use steer_core::host::{Host, Presence};
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

use super::plan;
use crate::local;

pub(super) fn of(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let loopback = if host.families.contains(&Family::V4) {
        Presence::Present
    } else {
        Presence::Absent("no listener can be at 127.0.0.1".to_owned())
    };
    let mut needs = vec![Requirement::new(
        "IPv4 on the loopback interface",
        loopback,
        "ip link set lo up",
    )];
    let resolver = match local::upstream(intent, host) {
        Ok(_) => Presence::Present,
        Err(why) => Presence::Absent(why),
    };
    needs.push(Requirement::new(
        "a resolver to ask about other names",
        resolver,
        "write dns.resolver: ADDRESS, that of a resolver which does not ask this one \
         (`resolvectl dns` tells those of systemd-resolved)",
    ));
    if let Some(low) = plan::ports_asked(intent).find(|port| *port < UNPRIVILEGED) {
        let presence = if host.uid == 0 {
            Presence::Present
        } else {
            Presence::Unknown(format!("port {low} is below {UNPRIVILEGED}"))
        };
        needs.push(Requirement::new(
            "CAP_NET_BIND_SERVICE",
            presence,
            "run as root, `setcap cap_net_bind_service+ep` the steer program, or lower \
             net.ipv4.ip_unprivileged_port_start",
        ));
    }
    needs
}

/// The first port that everybody may listen on, unless the host says otherwise.
const UNPRIVILEGED: u16 = 1024;
