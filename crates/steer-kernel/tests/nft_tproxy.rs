//! Transparent steering by the nf_tables driver, with real packets.

#[path = "support/tproxy.rs"]
mod tproxy;

use lab::require;
use tproxy::{Filter, cases};

macro_rules! mount {
    ($($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            require!(Root, Program("nft"));
            cases::$case(Filter::Nft);
        }
    )*};
}

mount!(
    this_hosts_own_flows_are_steered_with_their_destination,
    forwarded_flows_are_steered_and_the_routers_own_are_not,
    without_an_engine_nothing_leaves_under_closed,
    without_an_engine_forwarded_flows_go_direct_under_open,
    without_an_engine_this_hosts_own_flows_are_refused_under_open,
    older_connections_and_answers_of_servers_are_left_alone,
    marks_of_neighbours_are_kept,
    retired_rules_let_steered_connections_go_on_and_take_no_further_flow,
    a_steered_connection_that_outlives_its_rules_does_not_leak,
    a_policy_rule_with_an_interface_does_not_mind_src_valid_mark,
);
