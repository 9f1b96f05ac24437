//! Which marks and routing tables steerings in force use.

use std::collections::BTreeSet;

use steer_core::journal::Journal;
use steer_core::keeper::KeeperError;
use steer_core::symbol::Slot;

use super::clean::living;
use super::elsewhere;
use crate::journal::RunDir;

/// The steerings in force that mark packets in one of these namespaces, from every run directory
/// that can be found.
pub(super) fn taken(
    dir: &RunDir,
    places: &BTreeSet<String>,
) -> Result<Vec<(Journal, Slot)>, KeeperError> {
    let own = dir.read()?.into_iter().filter_map(|e| e.journal.ok());
    Ok(own
        .chain(elsewhere::journals(dir))
        .filter(|journal| living(journal).is_some())
        .filter(|journal| journal.places().iter().any(|place| places.contains(*place)))
        .filter_map(|journal| {
            let slot = journal.job.bindings.slot?;
            Some((journal, slot))
        })
        .collect())
}

/// Refuses a job whose packets somebody else would take for his, or the other way round.
pub(super) fn check(dir: &RunDir, journal: &Journal) -> Result<(), KeeperError> {
    let Some(slot) = journal.job.bindings.slot else {
        return Ok(());
    };
    let places = journal.places().into_iter().map(str::to_owned).collect();
    let others = taken(dir, &places)?;
    let clash = others.into_iter().find(|(other, theirs)| {
        other.job.instance() != journal.job.instance()
            && (theirs.number == slot.number || theirs.mark.clashes(slot.mark))
    });
    match clash {
        None => Ok(()),
        Some((other, _)) => Err(KeeperError::Marked {
            instance: other.job.instance().clone(),
            pid: other.engine.pid,
            mark: slot.mark,
        }),
    }
}
