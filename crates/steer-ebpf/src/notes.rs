//! What the reader of a plan should know.

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Dial, Dns, Intent, OnFailure};
use steer_core::object::Reach;
use steer_core::plan::Plan;
use steer_core::steerer::names;

/// Notes of hooks for what goes out.
pub(crate) fn outbound(intent: &Intent, host: &Host, reach: Reach, plan: &mut Plan) {
    choices(intent, plan);
    families(intent, host, plan);
    dns(intent, host, plan);
    not_steered(intent, plan);
    surroundings(intent, reach, plan);
}

/// Notes of the lookup for what comes in.
pub(crate) fn inbound(intent: &Intent, host: &Host, plan: &mut Plan) {
    failure(intent, plan);
    families(intent, host, plan);
    if intent.traffic.include.protocols.is_empty() {
        plan.note("of what comes in TCP alone is taken; UDP goes to its own servers");
    }
    plan.note(
        "what this host connects to an address from that same address is not looked up: it goes to \
         its own servers",
    );
    if intent.failure() == OnFailure::Closed {
        plan.note(
            "closed holds for as long as the keeper lives: the kernel detaches the hook with it",
        );
    }
}

fn failure(intent: &Intent, plan: &mut Plan) {
    if intent.on_failure.is_none() {
        let failure = intent.failure();
        plan.note(format!("on_failure is not written: {}", failure.name()));
    }
}

/// What was chosen where nothing is written.
fn choices(intent: &Intent, plan: &mut Plan) {
    failure(intent, plan);
    let traffic = &intent.traffic;
    if traffic.loopback.is_none() {
        plan.note("traffic.loopback is not written: skip (127.0.0.0/8 and ::1 are left alone)");
    }
    if traffic.dns.is_none() {
        plan.note("traffic.dns is not written: leave (port 53 goes direct)");
    }
    let udp = traffic.means(Protocol::Udp) && intent.listen.external.is_none();
    if traffic.quic.is_none() && udp && traffic.means_port(443) {
        plan.note("traffic.quic is not written: steer (UDP port 443 like all UDP)");
    }
    match (&intent.scope.of.netns, intent.dial) {
        (Some(_), None) => {
            plan.note("dial is not written: inside (the engine dials from the namespace)");
        }
        (Some(_), Some(Dial::Outside)) => plan.note(
            "dial: outside, so destinations are what they mean to steer, not in the namespace",
        ),
        _ => {}
    }
}

/// Families that cannot be steered.
fn families(intent: &Intent, host: &Host, plan: &mut Plan) {
    if host.families.contains(&Family::V6) {
        return;
    }
    let refused = intent.failure() == OnFailure::Closed && !intent.scope.of.inbound;
    plan.note(
        match (host.socket_families.contains(&Family::V6), refused) {
            (false, _) => "this kernel has no IPv6: only IPv4 is steered",
            (true, true) => "this host has no address ::1 to listen on: IPv6 is refused",
            (true, false) => "this host has no address ::1 to listen on: IPv6 goes direct",
        },
    );
}

/// What of DNS does not come by.
fn dns(intent: &Intent, host: &Host, plan: &mut Plan) {
    names::notes(intent, names::resolver_here(intent, host), plan);
    let traffic = &intent.traffic;
    if traffic.dns != Some(Dns::Capture) || traffic.captured().is_empty() {
        return;
    }
    plan.note(
        "names that a program asks for without DNS on port 53 (a socket of nscd or \
         systemd-resolved, DNS over TLS or HTTPS) are not captured",
    );
}

fn not_steered(intent: &Intent, plan: &mut Plan) {
    let external = intent.listen.external.is_some();
    plan.note(match (intent.failure(), external) {
        (OnFailure::Open, false) => {
            "ebpf cannot steer multicast, broadcast, ICMP and sockets that are bound to a device: \
             they go direct"
        }
        (OnFailure::Closed, false) => {
            "ebpf cannot steer multicast, broadcast, ICMP and sockets that are bound to a device: \
             they are refused"
        }
        (OnFailure::Open, true) => {
            "the other proxy is given TCP: UDP, ICMP and sockets that are bound to a device go direct"
        }
        (OnFailure::Closed, true) => {
            "the other proxy is given TCP: UDP, ICMP and sockets that are bound to a device are \
             refused"
        }
    });
}

/// Where the hooks act, and on whom else.
fn surroundings(intent: &Intent, reach: Reach, plan: &mut Plan) {
    if let Some(at) = intent.listen.external {
        plan.note(format!(
            "connections come to port {} of addresses in 127.128.0.0/9 and \
             fd5e:7ee2:0:f8e3::/64: the proxy has to listen on 0.0.0.0 and ::, and asks for \
             SO_ORIGINAL_DST",
            at.port()
        ));
    }
    if !intent.scope.of.command.is_empty() {
        plan.note(
            "scope.command is compared with the name of the calling process; on a kernel that does \
             not say where that is, or not let it be read (no BTF, lockdown), with that of the \
             calling thread, which may have one of its own",
        );
    }
    match (reach, intent.failure()) {
        (Reach::Here, _) => plan.note("programs in other network namespaces are left alone"),
        (Reach::All, OnFailure::Open) => plan.note(
            "a program in a network namespace of its own goes direct until the engine listens \
             there, from its first connection on",
        ),
        (Reach::All, OnFailure::Closed) => plan.note(
            "a program in a network namespace of its own is refused until the engine listens \
             there, from its first connection on",
        ),
    }
    if intent.failure() == OnFailure::Closed {
        plan.note("the hooks stay after a crash and refuse, until the next start or `steer clean`");
    }
    plan.note("connections that exist at the start are left alone");
}
