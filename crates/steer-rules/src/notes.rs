//! What the reader of a plan should know, whichever netfilter method made it.

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Dial, Dns, Intent, OnFailure, Quic};
use steer_core::plan::Plan;
use steer_core::steerer::names;

use crate::rules::traffic::daemon;
use crate::rules::way::Way;

/// What every method has to say.
pub fn common(intent: &Intent, host: &Host, way: &Way, quic: Quic, plan: &mut Plan) {
    choices(intent, way, quic, plan);
    families(intent, host, plan);
    dns(intent, host, way, plan);
    surroundings(host, way, plan);
}

/// What was chosen where nothing is written.
fn choices(intent: &Intent, way: &Way, quic: Quic, plan: &mut Plan) {
    let traffic = &intent.traffic;
    if intent.on_failure.is_none() {
        let failure = intent.failure();
        plan.note(format!("on_failure is not written: {}", failure.name()));
    }
    if *way == Way::Local && traffic.loopback.is_none() {
        plan.note("traffic.loopback is not written: skip (127.0.0.0/8 and ::1 are left alone)");
    }
    if *way != Way::Inbound && traffic.dns.is_none() {
        plan.note("traffic.dns is not written: leave (port 53 goes direct)");
    }
    let quic_meant = traffic.means(Protocol::Udp) && traffic.means_port(443);
    if traffic.quic.is_none() && quic_meant {
        plan.note(match quic {
            Quic::Steer => "traffic.quic is not written: steer (UDP port 443 like all UDP)",
            Quic::Reject => "traffic.quic is not written: reject (UDP port 443 is refused)",
            Quic::Leave => "traffic.quic is not written: leave (UDP port 443 goes direct)",
        });
    }
    if intent.scope.of.netns.is_some() && intent.dial.is_none() {
        plan.note("dial is not written: inside (the engine dials from the namespace)");
    }
    if let (Some(_), Some(Dial::Outside)) = (&intent.scope.of.netns, intent.dial) {
        plan.note(
            "dial: outside, so destinations are what they mean to steer, not in the namespace",
        );
    }
}

/// Families that cannot be steered.
fn families(intent: &Intent, host: &Host, plan: &mut Plan) {
    if host.families.contains(&Family::V6) {
        return;
    }
    let refused = intent.failure() == OnFailure::Closed;
    plan.note(
        match (host.socket_families.contains(&Family::V6), refused) {
            (false, _) => "this kernel has no IPv6: only IPv4 is steered",
            (true, true) => "this host has no address ::1 to listen on: IPv6 is refused",
            (true, false) => "this host has no address ::1 to listen on: IPv6 goes direct",
        },
    );
}

/// What of DNS does not come by.
fn dns(intent: &Intent, host: &Host, way: &Way, plan: &mut Plan) {
    names::notes(intent, daemon(intent, host, way), plan);
    if intent.traffic.dns == Some(Dns::Capture) && *way == Way::Local {
        plan.note(
            "names that a program asks for without DNS on port 53 (a socket of nscd or \
             systemd-resolved, DNS over TLS or HTTPS) are not captured",
        );
    }
}

/// What the host itself does with packets of the way.
fn surroundings(host: &Host, way: &Way, plan: &mut Plan) {
    let Way::Forwarded(names) = way else { return };
    for interface in host.interfaces.iter().filter(|i| names.contains(&i.name)) {
        if interface.forwards.is_empty() {
            let name = &interface.name;
            plan.note(format!(
                "{name} does not forward: what is steered works all the same, and all else goes \
                 nowhere (`sysctl net.ipv4.conf.{name}.forwarding=1` would let it pass)"
            ));
        }
    }
}

/// What holds wherever packets are chosen by the flow that they belong to.
pub fn of_flows(way: &Way, plan: &mut Plan) {
    plan.note("conntrack is in the path of every packet of this host while a rule exists");
    if *way == Way::Local {
        plan.note(
            "what has no route here never becomes a packet, and so is not steered: the program's \
             own connect fails",
        );
    }
    plan.note("TCP connections that exist at the start are left alone; UDP flows are taken over");
}

/// Whether marks count where the kernel checks a packet's source.
pub fn marks_at_the_source(host: &Host, way: &Way, plan: &mut Plan) {
    let Way::Forwarded(names) = way else { return };
    for interface in host.interfaces.iter().filter(|i| names.contains(&i.name)) {
        if interface.src_valid_mark {
            plan.note(format!(
                "src_valid_mark=1 at {name}: the kernel looks the source of marked packets up by \
                 their mark; our rules bind to `iif {name}`, which that lookup does not have, so \
                 they are not found by it",
                name = interface.name
            ));
        }
    }
}
