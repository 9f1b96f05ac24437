//! What the method needs of a host.

use steer_core::host::{Host, Presence};
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

/// What is known from outside; the rest shows when it is tried.
pub(crate) fn of(_intent: &Intent, host: &Host) -> Vec<Requirement> {
    let loopback = match host.families.is_empty() {
        true => Presence::Absent("no address family has a loopback address".to_owned()),
        false => Presence::Present,
    };
    vec![
        Requirement::new(
            "a supervisor of system calls (seccomp user notification)",
            host.supervision.clone(),
            "it takes Linux 5.6 or later, no other such supervisor around steer, and \
             kernel.yama.ptrace_scope=0 or 1; or use `-m netns` or `-m preload`",
        ),
        Requirement::new(
            "the loopback interface",
            loopback,
            "set it up: `ip link set lo up`",
        ),
    ]
}
