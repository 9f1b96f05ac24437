//! Transparent steering by the iptables driver, with real packets and both variants.

#[path = "support/tproxy.rs"]
mod tproxy;

use lab::require;
use steer_core::object::IptablesVariant;
use tproxy::{Filter, cases, ends};

// Not mounted are the cases without an engine under `open`: the target TPROXY drops what no socket
// takes.
macro_rules! mount {
    ($variant:ident, $program:literal, $cases:ident: $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            require!(Root, Program("nft"), Program($program));
            $cases::$case(Filter::Iptables(IptablesVariant::$variant));
        }
    )*};
}

macro_rules! variant {
    ($module:ident, $variant:ident, $program:literal) => {
        mod $module {
            use super::*;
            mount!($variant, $program, cases:
                this_hosts_own_flows_are_steered_with_their_destination,
                flows_to_loopback_addresses_are_steered_too,
                forwarded_flows_are_steered_and_the_routers_own_are_not,
                the_engine_can_come_as_its_client,
    inbound_flows_are_steered_and_those_of_the_host_itself_are_not,
                redirected_flows_reach_a_listener_that_nobody_reaches_directly,
                older_connections_and_answers_of_servers_are_left_alone,
                marks_of_neighbours_are_kept,
                a_neighbours_reverse_path_filter_is_passed_where_nft_hands_over_behind_it,
    a_policy_rule_with_an_interface_does_not_mind_src_valid_mark,
            );
            mount!($variant, $program, ends:
                without_an_engine_nothing_leaves_under_closed,
                retired_rules_let_steered_connections_go_on_and_take_no_further_flow,
                a_steered_connection_that_outlives_its_rules_does_not_leak,
            );
        }
    };
}

variant!(nft, Nft, "iptables-nft");
variant!(legacy, Legacy, "iptables-legacy");
