//! Keepers that still clear up after an engine that has died.

use std::time::{Duration, Instant};

use steer_core::journal::{Journal, State};
use steer_core::keeper::KeeperError;

use super::clean::wait;
use crate::journal::{RunDir, process};

/// Waits until no keeper is clearing up, for some seconds at most.
///
/// One that goes on longer has its name and its ports taken, which the start then finds.
pub(super) fn wait_all(dir: &RunDir) -> Result<(), KeeperError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let clearing = dir
            .read()?
            .into_iter()
            .filter_map(|entry| entry.journal.ok())
            .find(is_clearing);
        let Some(journal) = clearing else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Ok(());
        }
        // In turns: one that has come to wait for its command's processes lives on.
        wait(journal.keeper, TURN).map_err(|source| KeeperError::Lost {
            what: "wait until the last one has cleared up".to_owned(),
            source,
        })?;
    }
}

/// Whether its engine is gone and its keeper is about to be.
fn is_clearing(journal: &Journal) -> bool {
    let Journal {
        job,
        engine,
        keeper,
        state,
        ..
    } = journal;
    let soon = match state {
        State::Committing | State::Engaged => true,
        // With a command, it waits for that one's processes.
        State::Crashed => job.bindings.command_cgroup.is_none(),
        State::Lingering => false,
    };
    soon && keeper != engine && process::is_alive(*keeper) && !process::is_alive(*engine)
}

const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(50);
