//! What the methods cannot do that steer the command of `run` alone.

use super::{Cannot, DNS, FAKE_IP, GATEWAY, INBOUND, NETNS, UDP, transparent};
use crate::mount::Mount;

/// Why such a method cannot do a case.
pub(super) fn cannot(mount: Mount, case: &str) -> Option<Cannot> {
    of_a_command(case).or_else(|| match mount {
        Mount::Netns => netns(case),
        Mount::Seccomp => calls(case).or_else(|| seccomp(case)),
        Mount::Preload => calls(case).or_else(|| preload(case)),
        _ => None,
    })
}

/// What is the same for all of them.
fn of_a_command(case: &str) -> Option<Cannot> {
    const WHY: &str = "it steers the command that it starts, and nobody else";
    // `run` has a scope of its own, before any method is asked.
    let scope = |line| Cannot::line(WHY, line, "names another scope");
    Some(match case {
        "a_neighbour_of_another_user_is_untouched" => scope("scope: { uid: 4711 }"),
        "a_neighbour_of_another_group_is_untouched" => scope("scope: { gid: 4711 }"),
        "a_neighbour_of_another_cgroup_is_untouched" => scope("scope: { cgroup: some.slice }"),
        "whoever_is_excepted_is_untouched" => scope("scope: { host: true, except: { uid: 4711 } }"),
        "chosen_process_names_only_are_steered" => scope("scope: { command: some }"),
        "two_network_namespaces_under_one_cgroup_are_told_apart" => {
            scope("scope: { cgroup: some.slice }")
        }
        "another_local_process_cannot_ride_a_live_token" => {
            Cannot::plain("no address stands for a destination")
        }
        "a_rule_by_user_decides" => Cannot::plain("its programs are those of one user"),
        case if GATEWAY.contains(&case) => scope("scope: { interface: [eth0] }"),
        case if INBOUND.contains(&case) => scope("scope: { inbound: true }"),
        case if NETNS.contains(&case) => scope("scope: { netns: /run/netns/any }"),
        _ => return transparent(case),
    })
}

fn netns(case: &str) -> Option<Cannot> {
    const WHY: &str = "nothing can be left out: what is not steered could not leave";
    Some(match case {
        "excluded_ports_and_networks_are_untouched" => Cannot::line(
            WHY,
            "traffic: { exclude: { ports: [22] } }",
            "traffic ports",
        ),
        "only_included_ports_and_networks_are_steered" => Cannot::line(
            WHY,
            "traffic: { include: { cidrs: [192.0.2.0/24] } }",
            "traffic cidrs",
        ),
        "only_connections_to_chosen_names_are_steered"
        | "only_chosen_names_get_a_made_up_address" => Cannot::line(
            WHY,
            "traffic: { dns: capture, include: { domains: [a.example] } }",
            "domains",
        ),
        "answers_that_point_into_the_pools_are_not_followed" => Cannot::plain(
            "names are all chosen where one is, and each is answered with an address of its own",
        ),
        "quic_is_left_alone_where_asked" => {
            Cannot::line(WHY, "traffic: { quic: leave }", "traffic.quic: leave")
        }
        "udp_is_left_alone_under_open" => Cannot::line(WHY, "on_failure: open", "on_failure: open"),
        "dns_is_left_alone_where_asked" => {
            Cannot::plain("questions that are left alone are passed on as any datagrams")
        }
        "udp_of_the_scope_is_refused_under_closed" => {
            Cannot::plain("it steers datagrams: see below")
        }
        "a_server_in_scope_still_answers_its_clients" => {
            Cannot::plain("its programs are reached at the ports of `netns.publish` alone")
        }
        _ => return None,
    })
}

/// The methods that answer the command's calls.
fn calls(case: &str) -> Option<Cannot> {
    const TCP: &str = "it answers calls for connections; datagrams are refused";
    Some(match case {
        "the_listener_cannot_be_dialled_in_any_spelling"
        | "garbage_on_the_listener_closes_that_connection_alone" => Cannot::line(
            "it has no port",
            "listen: { outbound: 15001 }",
            "listen.outbound",
        ),
        "a_server_in_scope_still_answers_its_clients" => {
            Cannot::plain("sockets that are bound and never connected are no concern of it")
        }
        "names_are_found_for_an_upstream_that_no_rule_asks_them_for" => Cannot::plain(
            "its clients wait for the upstream before they show a name that no rule looks for",
        ),
        "quic_is_steered_and_shows_its_name" => {
            Cannot::line(TCP, "traffic: { quic: steer }", "traffic.quic")
        }
        case if UDP.contains(&case) => {
            Cannot::line(TCP, "traffic: { include: { protocols: [udp] } }", "udp")
        }
        case if DNS.contains(&case) && case != "dns_is_left_alone_where_asked" => {
            Cannot::line(TCP, "traffic: { dns: capture }", "traffic.dns")
        }
        "only_connections_to_chosen_names_are_steered"
        | "only_chosen_names_get_a_made_up_address"
        | "answers_that_point_into_the_pools_are_not_followed" => Cannot::line(
            "it sees the addresses of connections, and no questions",
            "traffic: { include: { domains: [a.example] } }",
            "domains",
        ),
        _ => return None,
    })
}

fn seccomp(case: &str) -> Option<Cannot> {
    Some(match case {
        "udp_is_left_alone_under_open" => Cannot::line(
            "a call without its supervisor fails",
            "on_failure: open",
            "on_failure: open",
        ),
        case if FAKE_IP.contains(&case) => Cannot::line(
            "a call has an address, never a name",
            "traffic: { dns: capture }\ndns: { fake_ip: true }",
            "dns.fake_ip",
        ),
        _ => return None,
    })
}

fn preload(case: &str) -> Option<Cannot> {
    Some(match case {
        "quic_is_left_alone_where_asked" => Cannot::line(
            "datagrams are refused or left alone as one",
            "traffic: { quic: leave }",
            "traffic.quic",
        ),
        case if FAKE_IP.contains(&case) => Cannot::line(
            "its library makes addresses up by itself, for names that an upstream is to get",
            "traffic: { dns: capture }\ndns: { fake_ip: true }",
            "traffic.dns",
        ),
        _ => return None,
    })
}
