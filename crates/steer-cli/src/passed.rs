//! Descriptors that the command is given and that go past the engine.
//!
//! What leads out of namespaces of the command's own is said on stderr, and the command gets it:
//! whoever starts it may mean that. `--verify` refuses it, since nobody counts what passes there;
//! so it does for sockets where packets are told by the cgroup in which their socket was made.
//! A socket that listens brings connections in and none out: it is said under `--verify` alone.
//! Standard streams that are sockets are as inetd(8) has them, and are refused by `--verify` alone.

use std::io;

use steer::core::plan::Plan;
use steer::kernel::child::{Leads, Passed};

use crate::failure::Failure;
use crate::say;

/// Refuses what `--verify` could not count, and says which connections come in uncounted.
pub(crate) fn refuse(plan: &Plan) -> Result<(), Failure> {
    let all = all()?;
    let past = list(&all, |passed| match passed.leads {
        Leads::In { .. } => false,
        Leads::Out { .. } => true,
        Leads::Files(_) => is_covered(plan),
    });
    if past.is_empty() {
        return Ok(());
    }
    Err(Failure::plain(
        format!(
            "`--verify` cannot count what goes past the engine by descriptors that the command is given: {past}"
        ),
        CLOSE_OR_LEAVE_OUT,
    ))
}

/// Says what goes past the engine, where nothing else would.
pub(crate) fn tell(plan: &Plan, verifies: bool) -> Result<(), Failure> {
    if verifies {
        let come_in = list(&all()?, |passed| matches!(passed.leads, Leads::In { .. }));
        if !come_in.is_empty() {
            say(&format_args!(
                "steer: not counted: connections that come in by descriptors that the command is given: {come_in}"
            ));
        }
        return Ok(());
    }
    if plan.namespace().is_none() {
        return Ok(());
    }
    let past = list(&all()?, |passed| match passed.leads {
        Leads::In { .. } => false,
        Leads::Out { .. } => passed.descriptor > STDERR,
        Leads::Files(_) => is_covered(plan),
    });
    if !past.is_empty() {
        say(&Failure::plain(
            format!("descriptors that the command is given go past the engine: {past}"),
            "close those that it does not need, as `3>&-` does in a shell",
        ));
    }
    Ok(())
}

/// Whether paths are covered that a directory outside would lead to.
fn is_covered(plan: &Plan) -> bool {
    plan.namespace()
        .is_some_and(|namespace| !namespace.masked.is_empty())
}

fn list(all: &[Passed], counts: impl Fn(&Passed) -> bool) -> String {
    let counted = all.iter().filter(|passed| counts(passed));
    counted
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn all() -> Result<Vec<Passed>, Failure> {
    Passed::all().map_err(|error: io::Error| {
        Failure::plain(
            format!("what the command inherits cannot be read from /proc: {error}"),
            "mount it: mount -t proc proc /proc",
        )
    })
}

const CLOSE_OR_LEAVE_OUT: &str =
    "close them for it, as `3>&-` does in a shell, or leave `--verify` out";
const STDERR: i32 = 2;
