//! What the reader of a plan of packets should know.

use steer_core::address::Family;
use steer_core::host::Host;
use steer_core::intent::{Dns, Echo, Intent, OnFailure};
use steer_core::masks;
use steer_core::object::Layer;
use steer_core::plan::Plan;

use steer_rules::rules::guard;
use steer_rules::rules::way::Way;

/// What of the scope does not get to the device.
pub(crate) fn not_steered(intent: &Intent, way: &Way, layer: Layer, plan: &mut Plan) {
    let rest = guard::refuses_the_rest(intent, way);
    let own = match way {
        Way::Local => "this host's own addresses, ",
        Way::Forwarded(_) | Way::Inbound => "",
    };
    let cannot =
        format!("{layer} cannot steer {own}multicast, broadcast and IPv6 link-local addresses");
    let others = match intent.link.echo {
        Some(_) => "protocols beside TCP, UDP and echo requests",
        None => "ICMP and other protocols",
    };
    plan.note(match (intent.failure(), rest) {
        (OnFailure::Open, _) => format!("{cannot}, nor {others}: they go direct"),
        (OnFailure::Closed, true) => format!("{cannot}, nor {others}: they are refused"),
        (OnFailure::Closed, false) => format!("{cannot}: they are refused; {others} go direct"),
    });
    if let Some(echo) = intent.link.echo {
        plan.note(match echo {
            Echo::Answer => {
                "device.echo: answer, so that whatever address is pinged seems to be there"
            }
            Echo::Forward => "device.echo: forward (the engine pings, and passes the answer on)",
            Echo::Refuse => "device.echo: refuse (pings are told that they are prohibited)",
        });
    }
    if *way != Way::Local && intent.traffic.dns == Some(Dns::Capture) {
        plan.note(
            "queries to a resolver of this host itself come by no device: they are not captured",
        );
    }
}

/// What others on this host have to do with the device.
pub(crate) fn surroundings(
    device: &str,
    way: &Way,
    families: &[Family],
    host: &Host,
    plan: &mut Plan,
) {
    let at = match way {
        Way::Forwarded(_) => "what is forwarded to it, and what comes in by it",
        Way::Local | Way::Inbound => "what comes in by it",
    };
    plan.note(format!(
        "{device} is an interface like others: a firewall that admits only what it knows has to \
         admit {at}"
    ));
    let unforwarded =
        |family: &&Family| !families.contains(family) && host.families.contains(family);
    if matches!(way, Way::Forwarded(_)) {
        for family in Family::ALL.iter().filter(unforwarded) {
            plan.note(format!(
                "no interface of the scope forwards {family}: nothing of it passes, steered or not"
            ));
        }
    }
}

/// What holds where others bring packets to the device.
pub(crate) fn given(intent: &Intent, plan: &mut Plan) {
    plan.note(
        "whatever comes by the device is the engine's, whoever sends it: DNS and QUIC too; its routes \
         are those of whoever sends",
    );
    plan.note("nothing is left of it when the engine ends: its clients then have no way at all");
    if intent.link.echo.is_none() {
        plan.note(
            "device.echo is not written: forward (the engine pings, and passes the answer on)",
        );
    }
}

/// What holds in namespaces of the command's own.
pub(crate) fn confined(intent: &Intent, host: &Host, plan: &mut Plan) {
    plan.note(
        "not privileged: the device is in namespaces of the command's own, and is their only way out; \
         nothing of this host changes",
    );
    plan.note(
        "closed by nature: no packet leaves but to the engine, and without it the command has no \
         network; the engine dials from here, and what it cannot reach is reset, after the command's \
         connect has succeeded",
    );
    plan.note(match intent.link.echo {
        Some(Echo::Answer) => {
            "device.echo: answer, so that whatever address is pinged seems to be there"
        }
        Some(Echo::Refuse) => "device.echo: refuse (pings are told that they are prohibited)",
        // Refused before where it is written.
        Some(Echo::Forward) | None => {
            "device.echo is not written: refuse (pings are told that they are prohibited)"
        }
    });
    plan.note(
        "127.0.0.0/8 and ::1 are the command's own: services on the host's loopback are not reached, \
         and nobody outside reaches a port of the command (`-m netns` has keys for both)",
    );
    if intent.traffic.dns.is_none() {
        plan.note("traffic.dns is not written: leave (queries are passed on as any other flow)");
    }
    if !host.families.contains(&Family::V6) {
        plan.note("this host has no IPv6: the command has none either");
    }
    plan.note(
        "refused: multicast, broadcast, IPv6 link-local addresses, protocols beside TCP, UDP and echo \
         requests, other socket families, io_uring",
    );
    plan.note(format!(
        "covered, because else {}",
        masks::reasons().join("; ")
    ));
    plan.note(
        "still reachable past the network: files, the terminal, unix sockets by path that are not \
         covered, and signals to processes of the same user",
    );
    plan.note(match host.uid {
        0 => {
            "run as root: the command is root over its own namespaces alone, and can change what is \
             inside; no packet leaves all the same, but root can have others act through files \
             (cron, /proc/sys) and through sockets of other users, of which none is covered"
        }
        _ => {
            "setuid programs (sudo, ping) run without privilege, and files of other users belong to \
             nobody"
        }
    });
}
