//! What a method cannot do, why, and what it has to refuse for that reason.

mod command;
mod rules;

use super::Mount;
use crate::setup::Setup;

/// Why a method cannot do a case.
#[derive(Clone, Debug)]
pub struct Cannot {
    /// The reason, for the table.
    pub why: &'static str,
    /// What the method must refuse for that reason, where it is something that can be asked for.
    pub refused: Option<Asked>,
}

/// Something that a user can ask a method for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// Lines of a config, and how the refusal names the key.
    Line(&'static str, &'static str),
    /// `steer run`.
    Run,
}

impl Cannot {
    fn plain(why: &'static str) -> Self {
        Self { why, refused: None }
    }

    fn line(why: &'static str, line: &'static str, key: &'static str) -> Self {
        let refused = Some(Asked::Line(line, key));
        Self { why, refused }
    }

    /// Holds a method to its refusal: `plan` names what it cannot honour.
    pub(super) fn prove(&self, mount: Mount) {
        let (line, word, run) = match self.refused {
            None => return,
            Some(Asked::Line(line, word)) => (line, word, mount.is_run()),
            Some(Asked::Run) => ("", "run -- COMMAND", true),
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("steer.yaml");
        let config = match (mount.takes_scope(), line.starts_with("scope:")) {
            // A scope of its own stands in the line.
            (true, true) => Setup::scope("").config(mount),
            _ => Setup::default().config(mount),
        };
        std::fs::write(&path, config + line + "\n").expect("a file in a new directory");
        let mut program = lab::Program::new(crate::steer()).args(["plan", "-m", mount.method()]);
        if run {
            program = program.arg("--run");
        }
        let output = program.arg("-c").arg(path).run();
        assert_ne!(output.status, lab::Status::Exited(0), "{line}: {output:#?}");
        assert!(output.stderr.contains(word), "{word}: {output:#?}");
    }
}

impl Mount {
    /// Why it cannot do a case; the case's name decides.
    pub fn cannot(self, case: &str) -> Option<Cannot> {
        if self != Self::Ebpf
            && let Some(cannot) = self.knows_no_more_than_the_user(case)
        {
            return Some(cannot);
        }
        match self.method() {
            "redirect" => rules::all(case).or_else(|| rules::redirect(case)),
            "tproxy" => rules::all(case).or_else(|| rules::tproxy(case)),
            "ebpf" => transparent(case).or_else(|| ebpf(case)),
            "tun" | "tap" => rules::all(case).or_else(|| rules::device(case)),
            "dns" => by_name(case),
            "netns" | "seccomp" | "preload" => command::cannot(self, case),
            _ => self.willing(case),
        }
    }

    /// Methods that are not there when a program makes its call, or answer it themselves.
    fn knows_no_more_than_the_user(self, case: &str) -> Option<Cannot> {
        let who = match self {
            Self::Seccomp | Self::Preload => "of who asks it learns process, user and file alone",
            _ => "of who asks it learns the user alone, where it is asked to",
        };
        Some(match case {
            "identity_of_a_process_that_lives_a_millisecond_is_in_the_record"
            | "a_rule_by_name_file_group_and_cgroup_decides" => Cannot::plain(who),
            "an_external_transparent_proxy_gets_the_original_destination" => match self {
                // Their configs have listeners of their own.
                Self::ExplicitConnect | Self::ExplicitSocks5 | Self::Dns => Cannot::plain(OTHERS),
                _ => Cannot::line(
                    OTHERS,
                    "listen: { external: \"127.0.0.1:15001\" }",
                    "listen.external",
                ),
            },
            _ => return None,
        })
    }

    /// The methods whose clients speak to a proxy port.
    fn willing(self, case: &str) -> Option<Cannot> {
        // `run` has a scope of its own, before any method is asked.
        let scope = |line, key| {
            Cannot::line(
                WILLING,
                line,
                if self == Self::Env {
                    "names another scope"
                } else {
                    key
                },
            )
        };
        Some(match case {
            "a_neighbour_of_another_user_is_untouched" => {
                scope("scope: { uid: 4711 }", "scope.uid")
            }
            "a_neighbour_of_another_group_is_untouched" => {
                scope("scope: { gid: 4711 }", "scope.gid")
            }
            "a_neighbour_of_another_cgroup_is_untouched" => {
                scope("scope: { cgroup: some.slice }", "scope.cgroup")
            }
            "whoever_is_excepted_is_untouched" => {
                scope("scope: { host: true, except: { uid: 4711 } }", "scope.")
            }
            "a_command_is_steered_and_its_neighbour_is_not" if self != Self::Env => Cannot {
                why: "it starts no command",
                refused: Some(Asked::Run),
            },
            "excluded_ports_and_networks_are_untouched" => Cannot::line(
                CLIENTS_CHOICE,
                "traffic: { exclude: { ports: [22] } }",
                "traffic ports",
            ),
            "only_included_ports_and_networks_are_steered" => Cannot::line(
                CLIENTS_CHOICE,
                "traffic: { include: { cidrs: [192.0.2.0/24] } }",
                "traffic cidrs",
            ),
            "loopback_is_skipped" => Cannot::line(
                CLIENTS_CHOICE,
                "traffic: { loopback: skip }",
                "traffic.loopback: skip",
            ),
            "loopback_is_steered_where_asked" => Cannot::line(
                CLIENTS_CHOICE,
                "traffic: { loopback: steer }",
                "traffic.loopback: steer",
            ),
            "the_port_of_a_command_serves_no_other_user" if self != Self::Env => {
                Cannot::plain("its port is made to be shared, with a login where one is asked for")
            }
            "udp_of_the_scope_is_refused_under_closed"
            | "icmp_of_the_scope_is_refused_under_closed" => {
                Cannot::line(ITS_PORT, "on_failure: closed", "on_failure: closed")
            }
            "names_are_found_for_an_upstream_that_no_rule_asks_them_for" => Cannot::plain(
                "its clients wait for the answer before they show a name, and can ask by name",
            ),
            "the_listener_cannot_be_dialled_in_any_spelling" => {
                Cannot::plain("its listener is meant to be dialled: see the next case")
            }
            case if UDP_OF_SOCKS.contains(&case) && self == Self::ExplicitSocks5 => return None,
            "a_refused_datagram_is_an_error_of_the_program"
            | "a_rejecting_rule_refuses_datagrams"
            | "an_upstream_over_http_cannot_carry_datagrams"
                if self == Self::ExplicitSocks5 =>
            {
                Cannot::plain("SOCKS5 has no word for a datagram that is refused")
            }
            case if UDP.contains(&case) => match self {
                Self::ExplicitSocks5 => Cannot::plain("its programs know no proxy for datagrams"),
                _ => Cannot::plain("HTTP proxies carry no datagrams"),
            },
            case if QUIC.contains(&case) => {
                Cannot::line(CLIENTS_CHOICE, "traffic: { quic: reject }", "traffic.quic")
            }
            case if DNS.contains(&case) => {
                Cannot::line(CLIENTS_CHOICE, "traffic: { dns: capture }", "traffic.dns")
            }
            case if FAKE_IP.contains(&case) => Cannot::line(
                "its clients ask by name",
                "traffic: { dns: capture }\ndns: { fake_ip: true }",
                "dns.fake_ip",
            ),
            case if DOMAINS.contains(&case) => Cannot::line(
                CLIENTS_CHOICE,
                "traffic: { include: { domains: [a.example] } }",
                "domains",
            ),
            case if GATEWAY.contains(&case) => {
                scope("scope: { interface: [eth0] }", "scope.interface")
            }
            case if INBOUND.contains(&case) => scope("scope: { inbound: true }", "scope.inbound"),
            case if NETNS.contains(&case) => {
                scope("scope: { netns: /run/netns/any }", "scope.netns")
            }
            "chosen_process_names_only_are_steered" => {
                scope("scope: { command: some }", "scope.command")
            }
            "two_network_namespaces_under_one_cgroup_are_told_apart" => {
                scope("scope: { cgroup: some.slice }", "scope.cgroup")
            }
            "another_local_process_cannot_ride_a_live_token" => Cannot::plain(ITS_PORT),
            "getpeername_shows_the_peer_asked_for" => Cannot::plain(ITS_PORT),
            "a_server_in_scope_still_answers_its_clients" => Cannot::plain(ITS_PORT),
            case if BY_NAME.contains(&case) => Cannot::plain("its clients ask by name"),
            _ => return None,
        })
    }
}

/// Methods whose clients know nothing of them.
fn transparent(case: &str) -> Option<Cannot> {
    match case {
        "a_name_is_resolved_by_the_engine" | "a_name_asked_for_goes_to_the_upstream_as_it_is" => {
            Some(Cannot::plain("its clients resolve names themselves"))
        }
        "a_proxy_port_cannot_be_asked_for_itself_in_any_spelling"
        | "the_port_of_a_command_serves_no_other_user" => {
            Some(Cannot::plain("it has no proxy port"))
        }
        case if BY_NAME.contains(&case) => Some(Cannot::plain(
            "it needs no address of ours for a name: see made-up addresses",
        )),
        _ => None,
    }
}

fn ebpf(case: &str) -> Option<Cannot> {
    match case {
        case if GATEWAY.contains(&case) => Some(Cannot::line(
            "it answers calls of programs; what is forwarded makes none",
            "scope: { interface: [eth0] }",
            "scope.interface",
        )),
        "udp_is_left_alone_under_open" | "udp_of_the_scope_is_refused_under_closed" => {
            Some(Cannot::plain("it steers datagrams: see below"))
        }
        _ => None,
    }
}

/// The method that has nothing but the answers of its resolver.
fn by_name(case: &str) -> Option<Cannot> {
    const WHY: &str = "it sees names that are asked for, not addresses or programs";
    if BY_NAME.contains(&case) || OF_NAMES.contains(&case) {
        return None;
    }
    Some(match case {
        "many_flows_are_each_served" => {
            Cannot::plain("its ports have room for 64 flows each where names are chosen by `*.`")
        }
        "a_refused_datagram_is_an_error_of_the_program"
        | "a_rejecting_rule_refuses_datagrams"
        | "an_upstream_over_http_cannot_carry_datagrams" => {
            Cannot::plain("a port of its own has no word for a datagram that is refused")
        }
        "an_upstream_over_socks5_carries_datagrams" => {
            Cannot::plain("the upstream is asked by name: see made-up addresses")
        }
        "chosen_process_names_only_are_steered" => {
            Cannot::line(WHY, "scope: { command: some }", "scope.command")
        }
        "another_local_process_cannot_ride_a_live_token" => {
            Cannot::plain("an address of its own is for everybody who asks the name")
        }
        case if UDP.contains(&case) => Cannot::plain(WHY),
        case if GATEWAY.contains(&case) => {
            Cannot::line(WHY, "scope: { interface: [eth0] }", "scope.interface")
        }
        case if INBOUND.contains(&case) => {
            Cannot::line(WHY, "scope: { inbound: true }", "scope.inbound")
        }
        case if NETNS.contains(&case) => {
            Cannot::line(WHY, "scope: { netns: /run/netns/any }", "scope.netns")
        }
        "a_neighbour_of_another_user_is_untouched" => {
            Cannot::line(WHY, "scope: { uid: 4711 }", "scope.uid")
        }
        "udp_of_the_scope_is_refused_under_closed"
        | "icmp_of_the_scope_is_refused_under_closed" => {
            Cannot::line(WHY, "on_failure: closed", "on_failure: closed")
        }
        _ => Cannot::plain(WHY),
    })
}

/// Cases about datagrams of programs.
const UDP: [&str; 15] = [
    "a_burst_keeps_its_boundaries",
    "datagrams_reach_the_address_asked_for",
    "a_connected_socket_gets_its_answers",
    "one_socket_speaks_to_two_destinations",
    "empty_and_the_largest_datagrams_pass",
    "many_flows_are_each_served",
    "a_refused_datagram_is_an_error_of_the_program",
    "iperf_sends_datagrams",
    "openssl_speaks_dtls",
    "a_rejecting_rule_refuses_datagrams",
    "an_upstream_over_socks5_carries_datagrams",
    "an_upstream_over_http_cannot_carry_datagrams",
    "a_dead_upstream_lets_no_datagram_out",
    "a_flood_of_flows_is_bounded",
    "forwarded_datagrams_are_steered",
];

/// Those of them that a SOCKS5 client can take part in.
const UDP_OF_SOCKS: [&str; 5] = [
    "datagrams_reach_the_address_asked_for",
    "one_socket_speaks_to_two_destinations",
    "empty_and_the_largest_datagrams_pass",
    "many_flows_are_each_served",
    "an_upstream_over_socks5_carries_datagrams",
];

const QUIC: [&str; 3] = [
    "quic_is_steered_and_shows_its_name",
    "quic_is_rejected_at_once_where_asked",
    "quic_is_left_alone_where_asked",
];

const DNS: [&str; 12] = [
    "captured_dns_never_leaves_by_itself",
    "oversized_answers_are_cut",
    "dns_is_captured_over_both_transports",
    "dns_to_a_stub_on_loopback_is_captured",
    "dns_is_left_alone_where_asked",
    "a_later_connection_carries_the_name_that_was_asked_for",
    "a_truncated_answer_leads_to_tcp",
    "spoofed_and_broken_answers_are_not_delivered",
    "answers_that_point_at_loopback_are_not_followed",
    "garbage_for_dns_stops_nobody",
    "forwarded_dns_is_captured",
    TO_THE_ROUTER,
];

const FAKE_IP: [&str; 5] = [
    "answers_that_point_into_the_pools_are_not_followed",
    "only_chosen_names_get_a_made_up_address",
    "a_made_up_address_leads_to_its_name",
    "an_unknown_made_up_address_is_refused_and_never_leaves",
    "made_up_addresses_outlive_a_restart",
];

const DOMAINS: [&str; 1] = ["only_connections_to_chosen_names_are_steered"];

const GATEWAY: [&str; 7] = [
    "forwarded_udp_is_refused_under_closed",
    "forwarded_connections_from_before_go_on_untouched",
    "forwarded_connections_are_steered_and_the_routers_own_are_not",
    "forwarded_datagrams_are_steered",
    "forwarded_dns_is_captured",
    TO_THE_ROUTER,
    "the_address_of_a_forwarded_client_is_kept",
];

const TO_THE_ROUTER: &str = "forwarded_dns_to_the_router_itself_is_captured";

const INBOUND: [&str; 1] = ["connections_to_this_host_go_through_the_engine"];

const NETNS: [&str; 3] = [
    "another_namespace_is_steered_by_path_and_by_process",
    "a_container_is_steered_by_its_name",
    "the_engine_dials_from_where_it_is_told",
];

const BY_NAME: [&str; 2] = [
    "a_chosen_name_answers_with_an_address_of_the_engine",
    "a_port_that_was_not_asked_for_is_not_served",
];

/// Cases of all methods that a client can take part in who asks by name.
const OF_NAMES: [&str; 23] = [
    "datagrams_reach_the_address_asked_for",
    "one_socket_speaks_to_two_destinations",
    "empty_and_the_largest_datagrams_pass",
    "a_server_is_reached_over_ipv4",
    "a_server_is_reached_over_ipv6",
    "the_bytes_are_those_of_an_unsteered_client",
    "a_server_that_speaks_first_is_heard_at_once",
    "a_refused_destination_is_refused",
    "a_rejecting_rule_refuses",
    "a_dead_upstream_is_an_error_and_never_direct",
    "half_close_from_the_client",
    "half_close_from_the_server",
    "a_server_that_finishes_without_a_word_is_no_reset",
    "a_reset_by_the_client_is_a_reset_for_the_server",
    "a_reset_by_the_server_is_a_reset_for_the_client",
    "a_reset_reaches_a_side_that_has_finished",
    "a_large_download_arrives_whole",
    "a_large_upload_arrives_whole",
    "a_bulk_transfer_both_ways_is_followed_by_small_words",
    "a_server_that_does_not_read_holds_the_client_back",
    "a_thousand_connections_at_once_are_each_served",
    "five_hundred_idle_connections_leave_room_for_another",
    "garbage_of_a_steered_program_arrives_unchanged",
];

const OTHERS: &str = "its traffic goes to its own engine";
const WILLING: &str = "it binds willing clients only, whoever they are";
const CLIENTS_CHOICE: &str = "its clients choose what they send to its port";
const ITS_PORT: &str = "it sees only what its clients send to its port";
