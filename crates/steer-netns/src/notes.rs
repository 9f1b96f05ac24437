//! What the reader of a plan should know.

use std::net::IpAddr;

use steer_core::address::Family;
use steer_core::host::Host;
use steer_core::intent::{Dns, Intent, Loopback};
use steer_core::masks;
use steer_core::plan::Plan;

/// Adds all that is to be said.
pub(crate) fn all(intent: &Intent, host: &Host, resolvers: &[IpAddr], plan: &mut Plan) {
    choices(intent, resolvers, plan);
    if !host.families.contains(&Family::V6) {
        plan.note("this host has no IPv6: the command has none either");
    }
    plan.note(
        "closed by nature: nothing but lo is inside, so that no packet leaves; the engine dials \
         from here, and what it cannot reach is reset, after the command's connect has succeeded",
    );
    plan.note(
        "refused: multicast, broadcast, IPv6 link-local addresses, ICMP (ping), other protocols, \
         other socket families, io_uring",
    );
    plan.note(format!(
        "covered, because else {}",
        masks::reasons().join("; ")
    ));
    plan.note(
        "still reachable past the network: files, the terminal, unix sockets by path that are not \
         covered, and signals to processes of the same user; sockets without a path (abstract) and \
         the memory of processes are not",
    );
    if host.uid == 0 {
        plan.note(
            "run as root: the command is root over its own namespaces alone, and can change the \
             rules and mounts inside; no packet leaves all the same, but root can have others \
             act through files (cron, /proc/sys) and through sockets of other users, of which \
             none is covered",
        );
    } else {
        plan.note(
            "setuid programs (sudo, ping) run without privilege, and files of other users belong \
             to nobody",
        );
    }
    inbound(intent, plan);
}

/// What was chosen where nothing is written.
fn choices(intent: &Intent, resolvers: &[IpAddr], plan: &mut Plan) {
    let traffic = &intent.traffic;
    match traffic.loopback {
        Some(Loopback::Steer) => plan.note(
            "loopback: steer, so 127.0.0.0/8 and ::1 are those of this host, and servers of the \
             command are not reached there by itself",
        ),
        Some(Loopback::Skip) => {}
        None => plan.note(
            "traffic.loopback is not written: skip (127.0.0.0/8 and ::1 are the command's own)",
        ),
    }
    if traffic.dns.is_none() {
        plan.note("traffic.dns is not written: leave (queries are passed on as any other flow)");
    }
    if traffic.quic.is_none() {
        plan.note("traffic.quic is not written: steer (UDP port 443 like all UDP)");
    }
    if traffic.dns == Some(Dns::Capture) {
        plan.note(
            "queries to any address come to the engine, unless the command has a server there",
        );
    } else if !resolvers.is_empty() {
        let all: Vec<String> = resolvers.iter().map(ToString::to_string).collect();
        plan.note(format!(
            "queries to {} come to the engine, unless the command has a server there",
            all.join(", ")
        ));
    }
}

/// How others come in, and the host's loopback services out.
fn inbound(intent: &Intent, plan: &mut Plan) {
    let confine = &intent.confine;
    match confine.host_loopback.is_empty() {
        true => plan.note("services on the host's loopback are not reached (netns.host_loopback)"),
        false => plan.note(
            "netns.host_loopback: where the command has no server on such a port of loopback, this \
             host's is meant",
        ),
    }
    match confine.publish.is_empty() {
        true => plan.note("nobody outside reaches a port of the command (netns.publish)"),
        false => plan.note("published ports: their connections are dialled inside, at localhost"),
    }
}
