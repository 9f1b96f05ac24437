//! What methods of rules in the packets' way cannot do.

use super::{Cannot, INBOUND, TO_THE_ROUTER, UDP, transparent};

/// What none of them can.
pub(super) fn all(case: &str) -> Option<Cannot> {
    Some(match case {
        "chosen_process_names_only_are_steered" => Cannot::line(
            "packets show no name of a process",
            "scope: { command: some }",
            "scope.command",
        ),
        "two_network_namespaces_under_one_cgroup_are_told_apart" => {
            Cannot::plain("its rules stand in one network namespace, and see no other")
        }
        "another_local_process_cannot_ride_a_live_token" => {
            Cannot::plain("no address stands for a destination")
        }
        _ => return transparent(case),
    })
}

pub(super) fn redirect(case: &str) -> Option<Cannot> {
    const TCP: &str = "it rewrites connections alone, and of datagrams DNS";
    let udp = "traffic: { include: { protocols: [udp] } }";
    match case {
        case if UDP.contains(&case) => Some(Cannot::line(TCP, udp, "udp")),
        "quic_is_steered_and_shows_its_name" => Some(Cannot::line(
            TCP,
            "traffic: { quic: steer }",
            "traffic.quic",
        )),
        "the_address_of_a_forwarded_client_is_kept" => Some(Cannot::line(
            "its sockets cannot have another host's address",
            "scope: { interface: [eth0] }\nsource: client",
            "source: client",
        )),
        _ => None,
    }
}

pub(super) fn tproxy(case: &str) -> Option<Cannot> {
    match case {
        "udp_is_left_alone_under_open"
        | "udp_of_the_scope_is_refused_under_closed"
        | "forwarded_udp_is_refused_under_closed" => {
            Some(Cannot::plain("it steers datagrams: see below"))
        }
        _ => None,
    }
}

/// The methods that read packets of a device.
pub(super) fn device(case: &str) -> Option<Cannot> {
    const HERE: &str = "what is for this host itself is routed to no device";
    match case {
        "loopback_is_steered_where_asked" => Some(Cannot::line(
            HERE,
            "traffic: { loopback: steer }",
            "traffic.loopback: steer",
        )),
        "dns_to_a_stub_on_loopback_is_captured" | TO_THE_ROUTER => Some(Cannot::plain(HERE)),
        case if INBOUND.contains(&case) => Some(Cannot::line(
            HERE,
            "scope: { inbound: true }",
            "scope.inbound",
        )),
        "the_address_of_a_forwarded_client_is_kept" => Some(Cannot::line(
            "answers to another host's address come by no device of ours",
            "scope: { interface: [eth0] }\nsource: client",
            "source: client",
        )),
        _ => tproxy(case),
    }
}
