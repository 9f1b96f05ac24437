//! Every case for every method.
//!
//! A case is a function of a mount in the file of its theme. The macro below makes one test of
//! it for each mount, so a test's name reads `redirect_nft::half_close_from_the_client`.

macro_rules! mounted {
    ($module:ident, $mount:ident, $($theme:ident :: $case:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    let mount = steer_tests::Mount::$mount;
                    steer_tests::mounted(mount, stringify!($case), super::$theme::$case);
                }
            )*
        }
    };
}

macro_rules! matrix {
    ($($heading:literal $theme:ident { $($case:ident)* })*) => {
        $(mod $theme;)*

        const THEMES: &[steer_tests::Theme] = &[$(($heading, &[$(stringify!($case)),*])),*];

        mounted! { redirect_nft, RedirectNft, $($($theme::$case)*)* }
        mounted! { redirect_iptables, RedirectIptables, $($($theme::$case)*)* }
        mounted! { env, Env, $($($theme::$case)*)* }
        mounted! { explicit_connect, ExplicitConnect, $($($theme::$case)*)* }
        mounted! { explicit_socks5, ExplicitSocks5, $($($theme::$case)*)* }
    };
}

matrix! {
    "Reach" reach {
        a_server_is_reached_over_ipv4
        a_server_is_reached_over_ipv6
        the_bytes_are_those_of_an_unsteered_client
        a_server_that_speaks_first_is_heard_at_once
        a_name_is_resolved_by_the_engine
        a_forward_port_leads_to_its_destination
    }
    "Ends" ends {
        half_close_from_the_client
        half_close_from_the_server
        a_server_that_finishes_without_a_word_is_no_reset
        a_reset_by_the_client_is_a_reset_for_the_server
        a_reset_by_the_server_is_a_reset_for_the_client
        a_reset_reaches_a_side_that_has_finished
    }
    "Refusals" refusals {
        a_refused_destination_is_refused
        an_unreachable_destination_is_an_error
        a_prohibited_destination_is_an_error
        a_rejecting_rule_refuses
        a_dead_upstream_is_an_error_and_never_direct
    }
    "Load" load {
        a_large_download_arrives_whole
        a_large_upload_arrives_whole
        a_bulk_transfer_both_ways_is_followed_by_small_words
        a_server_that_does_not_read_holds_the_client_back
        a_thousand_connections_at_once_are_each_served
        five_hundred_idle_connections_leave_room_for_another
    }
    "Who and what is left alone" beside {
        a_neighbour_of_another_user_is_untouched
        a_neighbour_of_another_cgroup_is_untouched
        whoever_is_excepted_is_untouched
        a_command_is_steered_and_its_neighbour_is_not
        excluded_ports_and_networks_are_untouched
        only_included_ports_and_networks_are_steered
        loopback_is_skipped
        loopback_is_steered_where_asked
        established_connections_go_on_untouched
        the_port_of_a_command_serves_no_other_user
    }
    "Rules and upstreams" rules {
        the_first_rule_that_matches_decides
        a_rule_by_user_decides
        an_upstream_over_socks5_gets_the_login
        an_upstream_over_http_gets_the_login
        an_upstream_that_wants_a_login_refuses_whoever_gives_none
        a_name_in_a_tls_hello_goes_to_the_upstream
        a_name_in_an_http_request_goes_to_the_upstream
        the_name_of_a_real_tls_client_goes_to_the_upstream
        names_are_found_for_an_upstream_that_no_rule_asks_them_for
        a_name_asked_for_goes_to_the_upstream_as_it_is
    }
    "Loops" loops {
        the_listener_cannot_be_dialled_in_any_spelling
        a_proxy_port_cannot_be_asked_for_itself_in_any_spelling
    }
    "Hostile bytes" hostile {
        garbage_on_the_listener_closes_that_connection_alone
        garbage_of_a_steered_program_arrives_unchanged
        half_handshakes_keep_nobody_waiting
    }
    "What cannot be steered" unsteered {
        udp_is_left_alone_under_open
        icmp_of_the_scope_is_refused_under_closed
        udp_of_the_scope_is_refused_under_closed
    }
}

/// The child process whose sockets stand for a program of another user, cgroup or command.
#[test]
fn agent() {
    lab::serve_agent();
}

#[test]
fn the_matrix_in_the_documentation_is_the_one_that_is_tested() {
    steer_tests::hold_table(THEMES);
}
