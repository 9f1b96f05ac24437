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
    (
        rules { $($heading:literal $theme:ident { $($case:ident)* })* }
        engine { $($heading2:literal $theme2:ident { $($case2:ident)* })* }
    ) => {
        $(mod $theme;)*
        $(mod $theme2;)*

        const THEMES: &[steer_tests::Theme] = &[
            $(steer_tests::Theme {
                heading: $heading,
                about: steer_tests::About::Rules,
                cases: &[$(stringify!($case)),*],
            },)*
            $(steer_tests::Theme {
                heading: $heading2,
                about: steer_tests::About::Engine,
                cases: &[$(stringify!($case2)),*],
            },)*
        ];

        mounted! { redirect_nft, RedirectNft, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! {
            redirect_iptables, RedirectIptables,
            $($($theme::$case)*)* $($($theme2::$case2)*)*
        }
        mounted! { redirect_legacy, RedirectLegacy, $($($theme::$case)*)* }
        mounted! { tproxy_nft, TproxyNft, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { tproxy_iptables, TproxyIptables, $($($theme::$case)*)* }
        mounted! { tproxy_legacy, TproxyLegacy, $($($theme::$case)*)* }
        mounted! { ebpf, Ebpf, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { tun, Tun, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { tap, Tap, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { env, Env, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! {
            explicit_connect, ExplicitConnect,
            $($($theme::$case)*)* $($($theme2::$case2)*)*
        }
        mounted! {
            explicit_socks5, ExplicitSocks5,
            $($($theme::$case)*)* $($($theme2::$case2)*)*
        }
        mounted! { dns_alone, Dns, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { netns, Netns, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { seccomp, Seccomp, $($($theme::$case)*)* $($($theme2::$case2)*)* }
        mounted! { preload, Preload, $($($theme::$case)*)* $($($theme2::$case2)*)* }
    };
}

matrix! {
    rules {
        "Reach" reach {
            a_server_is_reached_over_ipv4
            a_server_is_reached_over_ipv6
            the_bytes_are_those_of_an_unsteered_client
            a_server_that_speaks_first_is_heard_at_once
            getpeername_shows_the_peer_asked_for
            a_name_is_resolved_by_the_engine
            a_forward_port_leads_to_its_destination
        }
        "Refusals" refusals {
            a_refused_destination_is_refused
            an_unreachable_destination_is_an_error
            a_prohibited_destination_is_an_error
            a_rejecting_rule_refuses
            a_dead_upstream_is_an_error_and_never_direct
        }
        "Who and what is left alone" beside {
            a_neighbour_of_another_user_is_untouched
            a_neighbour_of_another_group_is_untouched
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
        "Loops" loops {
            the_listener_cannot_be_dialled_in_any_spelling
            a_proxy_port_cannot_be_asked_for_itself_in_any_spelling
        }
        "What cannot be steered" unsteered {
            udp_is_left_alone_under_open
            icmp_of_the_scope_is_refused_under_closed
            udp_of_the_scope_is_refused_under_closed
            forwarded_udp_is_refused_under_closed
        }
        "Datagrams" datagrams {
            datagrams_reach_the_address_asked_for
            a_connected_socket_gets_its_answers
            a_refused_datagram_is_an_error_of_the_program
            a_dead_upstream_lets_no_datagram_out
        }
        "QUIC" quic {
            quic_is_rejected_at_once_where_asked
            quic_is_left_alone_where_asked
        }
        "DNS" dns {
            dns_is_captured_over_both_transports
            dns_to_a_stub_on_loopback_is_captured
            captured_dns_never_leaves_by_itself
            dns_is_left_alone_where_asked
            only_connections_to_chosen_names_are_steered
        }
        "Made-up addresses" fake_ip {
            only_chosen_names_get_a_made_up_address
            an_unknown_made_up_address_is_refused_and_never_leaves
        }
        "Names without rules" by_name {
            a_chosen_name_answers_with_an_address_of_the_engine
            a_port_that_was_not_asked_for_is_not_served
        }
        "Gateways" gateway {
            forwarded_connections_are_steered_and_the_routers_own_are_not
            forwarded_connections_from_before_go_on_untouched
            forwarded_datagrams_are_steered
            forwarded_dns_is_captured
            forwarded_dns_to_the_router_itself_is_captured
            the_address_of_a_forwarded_client_is_kept
        }
        "Traffic of others" elsewhere {
            connections_to_this_host_go_through_the_engine
            a_server_in_scope_still_answers_its_clients
            another_namespace_is_steered_by_path_and_by_process
            a_container_is_steered_by_its_name
            the_engine_dials_from_where_it_is_told
            two_network_namespaces_under_one_cgroup_are_told_apart
        }
        "Who asks" identity {
            chosen_process_names_only_are_steered
            identity_of_a_process_that_lives_a_millisecond_is_in_the_record
            a_rule_by_name_file_group_and_cgroup_decides
        }
        "Proxies of others" external {
            an_external_transparent_proxy_gets_the_original_destination
        }
    }
    engine {
        "Ends" ends {
            half_close_from_the_client
            half_close_from_the_server
            a_server_that_finishes_without_a_word_is_no_reset
            a_reset_by_the_client_is_a_reset_for_the_server
            a_reset_by_the_server_is_a_reset_for_the_client
            a_reset_reaches_a_side_that_has_finished
        }
        "Load" load {
            a_large_download_arrives_whole
            a_large_upload_arrives_whole
            a_bulk_transfer_both_ways_is_followed_by_small_words
            a_server_that_does_not_read_holds_the_client_back
            a_thousand_connections_at_once_are_each_served
            five_hundred_idle_connections_leave_room_for_another
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
        "More of datagrams" flows {
            one_socket_speaks_to_two_destinations
            empty_and_the_largest_datagrams_pass
            a_burst_keeps_its_boundaries
            many_flows_are_each_served
            a_rejecting_rule_refuses_datagrams
            an_upstream_over_socks5_carries_datagrams
            an_upstream_over_http_cannot_carry_datagrams
            iperf_sends_datagrams
            openssl_speaks_dtls
            quic_is_steered_and_shows_its_name
        }
        "More of names" names {
            a_later_connection_carries_the_name_that_was_asked_for
            a_truncated_answer_leads_to_tcp
            a_made_up_address_leads_to_its_name
            made_up_addresses_outlive_a_restart
        }
        "Hostile bytes" hostile {
            garbage_on_the_listener_closes_that_connection_alone
            garbage_of_a_steered_program_arrives_unchanged
            half_handshakes_keep_nobody_waiting
            another_local_process_cannot_ride_a_live_token
        }
        "Hostile datagrams" broken_dns {
            spoofed_and_broken_answers_are_not_delivered
            answers_that_point_at_loopback_are_not_followed
            answers_that_point_into_the_pools_are_not_followed
            oversized_answers_are_cut
            garbage_for_dns_stops_nobody
            a_flood_of_flows_is_bounded
        }
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
