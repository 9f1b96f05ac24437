//! A command in namespaces of its own: what it sees of them, what it reaches, and what is left.
//! Each as root and as a user without any privilege.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails the test"
)]

#[path = "support/harness.rs"]
mod harness;

#[path = "confine/masks.rs"]
mod masks;
#[path = "confine/role.rs"]
mod role;
#[path = "confine/surroundings.rs"]
mod surroundings;
#[path = "confine/traffic.rs"]
mod traffic;

use std::process::ExitCode;

use lab::{Need, Program, require};
use steer_kernel::keeper;

fn main() -> ExitCode {
    keeper::entry();
    match std::env::var(ROLE).as_deref() {
        Ok("facts") => role::facts(),
        Ok(_) => role::engine(),
        Err(_) => {}
    }
    if !require(&[
        Need::Root,
        Need::Program("python3"),
        Need::Program("unshare"),
    ]) {
        return ExitCode::SUCCESS;
    }
    harness::run(harness::tests![
        traffic::every_destination_comes_to_the_engine_with_its_address,
        traffic::a_holder_that_is_gone_is_replaced_and_nothing_is_lost,
        traffic::there_is_no_interface_but_lo,
        surroundings::the_command_is_the_user_that_it_was,
        surroundings::the_command_has_the_surroundings_that_it_was_given,
        surroundings::a_working_directory_that_is_gone_is_told,
        surroundings::a_program_that_does_not_exist_is_told_as_ever,
        surroundings::settings_of_the_network_are_the_host_s,
        masks::masked_paths_are_covered_inside_and_untouched_outside,
        masks::a_masked_path_that_is_made_anew_is_covered_again,
        masks::a_file_in_the_place_of_another_is_seen_inside_alone,
        surroundings::other_socket_families_are_refused,
        surroundings::a_killed_engine_leaves_no_process_and_no_namespace,
        surroundings::a_terminal_is_the_command_s_as_ever,
        surroundings::nobody_looks_into_the_holder,
        surroundings::the_facts_of_the_host_tell_what_forbids_namespaces,
        surroundings::what_forbids_namespaces_is_named,
        surroundings::namespaces_can_be_nested,
    ])
}

/// An engine with a command, as this user.
fn engine(user: u32, arguments: &[&str]) -> Program {
    let program = Program::new(std::env::current_exe().unwrap())
        .env(ROLE, "1")
        .args(arguments);
    match user {
        0 => program,
        user => program.user(user).group(user),
    }
}

/// A Python program as the command of an engine.
fn python(user: u32, settings: &[&str], script: &str) -> Program {
    let mut arguments = settings.to_vec();
    arguments.extend(["python3", "-c", script]);
    engine(user, &arguments)
}

/// Root, and a user without privilege.
const USERS: [u32; 2] = [0, 65534];
/// The variable by which this program is an engine.
const ROLE: &str = "STEER_TEST_ROLE";
