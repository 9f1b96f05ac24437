//! Transparent steering by the nf_tables driver, with real packets.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "support/tproxy.rs"]
mod tproxy;

use lab::require;
use steer_core::intent::OnFailure;
use tproxy::{Filter, Steering, cases, ends, pair, rules};

macro_rules! mount {
    ($cases:ident: $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            require!(Root, Program("nft"));
            $cases::$case(Filter::Nft);
        }
    )*};
}

mount!(cases:
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

mount!(ends:
    without_an_engine_nothing_leaves_under_closed,
    without_an_engine_forwarded_flows_go_direct_under_open,
    without_an_engine_this_hosts_own_flows_are_refused_under_open,
    retired_rules_let_steered_connections_go_on_and_take_no_further_flow,
    a_steered_connection_that_outlives_its_rules_does_not_leak,
);

#[test]
fn chains_that_stay_are_refilled_and_not_made_again() {
    require!(Root, Program("nft"));
    let (app, _srv) = pair();
    let mut steering = Steering::on(&app, Filter::Nft);
    let chains = || {
        let list = app.program("nft").args(["-a", "list", "ruleset"]);
        let text = list.run().expect_success();
        let heads = text.lines().filter(|line| line.contains("chain "));
        heads.map(str::to_owned).collect::<Vec<_>>()
    };
    let local = rules::local(OnFailure::Closed);
    steering.set(std::slice::from_ref(&local)).unwrap();
    let made = chains();
    assert_eq!(made.len(), 3, "{made:?}");
    steering.set(&[local.retired()]).unwrap();
    assert_eq!(chains(), made);
}
