//! The keeper process against the kernel: what stands after the death of the engine, of the
//! keeper, and of both.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails the test"
)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/steering.rs"]
mod steering;

#[path = "keeper/role.rs"]
mod role;
#[path = "keeper/stage.rs"]
mod stage;

#[path = "keeper/cgroups.rs"]
mod cgroups;
#[path = "keeper/command.rs"]
mod command;
#[path = "keeper/containers.rs"]
mod containers;
#[path = "keeper/crash.rs"]
mod crash;
#[path = "keeper/devices.rs"]
mod devices;
#[path = "keeper/manners.rs"]
mod manners;
#[path = "keeper/namespaces.rs"]
mod namespaces;
#[path = "keeper/ports.rs"]
mod ports;

use std::process::ExitCode;

use lab::{Need, require};
use steer_kernel::keeper;

fn main() -> ExitCode {
    // A keeper gets no other variable of ours.
    if std::env::var("STEER_RUN_DIR").is_ok_and(|dir| dir.ends_with(WITHOUT_ENTRY)) {
        role::without_entry();
    }
    keeper::entry();
    match std::env::var(ROLE).as_deref() {
        Ok("engine") => role::engine(),
        Ok("clean") => role::clean(),
        _ => {}
    }
    if !require(&[
        Need::Root,
        Need::Cgroup2,
        Need::Program("nft"),
        Need::Program("python3"),
    ]) {
        return ExitCode::SUCCESS;
    }
    harness::run(harness::tests![
        crash::an_orderly_release_leaves_nothing,
        crash::a_job_takes_the_place_of_another_and_is_what_a_successor_adopts,
        crash::open_leaves_nothing_when_the_engine_is_killed,
        crash::closed_leaves_the_guard_when_the_engine_is_killed_and_the_next_start_adopts_it,
        crash::a_killed_keeper_changes_nothing_and_is_replaced,
        crash::a_successor_that_a_commit_has_called_stays_and_the_engine_accepts,
        crash::a_keeper_that_loses_a_living_engine_s_socket_leaves_its_listeners_alone,
        crash::a_release_after_the_keeper_s_death_still_undoes_everything,
        crash::both_killed_leaves_no_steering_and_clean_removes_the_guard,
        crash::both_killed_resets_the_clients_before_the_rules_go,
        crash::the_engine_killed_resets_the_clients_before_the_rules_go,
        cgroups::a_cgroup_that_is_made_again_is_steered_and_guarded_again,
        cgroups::a_job_is_undone_while_its_cgroup_does_not_exist,
        namespaces::a_release_works_after_the_last_process_of_the_namespace_has_ended,
        namespaces::a_keeper_works_in_the_namespace_that_its_engine_has_opened,
        namespaces::a_successor_works_in_the_namespace_that_the_path_led_to_at_first,
        namespaces::what_both_killed_leave_in_a_namespace_does_nothing_and_clean_removes_it_there,
        namespaces::what_both_killed_left_is_taken_over_by_the_next_start,
        namespaces::a_namespace_that_is_gone_has_taken_everything_along,
        namespaces::one_of_the_same_name_in_another_namespace_does_not_keep_what_is_dead,
        containers::a_slot_and_a_name_of_a_container_that_is_not_seen_are_left_to_it,
        containers::a_slot_outlives_the_keeper_with_the_engine_and_is_free_after_both,
        containers::a_stranger_can_keep_a_slot_from_us_and_no_name,
        ports::nobody_else_gets_the_port_of_a_dead_engine_while_rules_steer_there,
        ports::a_successor_of_the_keeper_holds_the_port_too,
        ports::a_restart_waits_until_the_last_keeper_has_cleared_up,
        devices::a_device_goes_with_an_orderly_release,
        devices::what_lost_its_device_is_retired_and_cannot_be_changed,
        devices::open_leaves_no_device_and_no_route_when_the_engine_is_killed,
        devices::closed_leaves_the_way_nowhere_when_the_engine_is_killed_and_the_next_start_has_it,
        devices::a_device_outlives_its_keeper_and_the_next_one_has_it,
        devices::both_killed_leaves_no_device_and_clean_removes_what_leads_nowhere,
        devices::clean_all_ends_a_device_that_is_read,
        manners::no_signal_of_a_terminal_reaches_the_keeper,
        manners::the_keeper_holds_nothing_of_the_engine_s_surroundings,
        manners::a_second_instance_of_the_name_and_an_overlapping_scope_are_refused,
        manners::a_foreign_table_of_our_name_is_refused_and_nothing_is_left,
        manners::clean_ends_what_lives_only_when_told_to,
        manners::a_program_with_more_rights_than_its_starter_becomes_no_keeper,
        manners::a_program_without_an_entry_is_told_so_and_not_started_over_and_over,
        command::closed_refuses_what_the_command_left_until_it_is_gone,
        command::closed_guards_the_command_of_a_killed_engine_until_it_is_gone,
        command::open_moves_what_the_command_left_to_the_parent_cgroup,
    ])
}

/// The variable that says what this program is.
const ROLE: &str = "STEER_TEST_ROLE";
/// The engine's port.
const PORT: u16 = 15001;
/// The end of the run directory of a program that calls no entry.
const WITHOUT_ENTRY: &str = "without-entry";
