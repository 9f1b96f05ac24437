//! One try to turn the tables that stand into those that are wanted.

use std::hash::RandomState;

use steer_core::instance::Instance;
use steer_core::ruleset::Role;

use super::list::{self, SeenTable};
use super::rule::Cgroups;
use super::set::Sets;
use super::socket::{Batch, Netlink};
use super::table::{self, Table};
use super::{Fault, NFPROTO_INET};

/// What a turn asks of the kernel. As long as something is missing ahead of the change, that is
/// made, and the next turn goes on.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Makes the sets that the changed rules look up, where they do not stand; nothing that
    /// stands refers to them.
    pub(super) ahead: Batch,
    /// Takes back what is made ahead, for a change that fails.
    pub(super) undo: Batch,
    /// Switches the rules, and removes the sets that only the earlier ones looked up.
    pub(super) change: Batch,
}

impl Turn {
    /// Adds what turns one standing table, or none, into the wanted one, or none.
    pub(super) fn push(
        &mut self,
        socket: &mut Netlink,
        names: &RandomState,
        cgroups: &mut Cgroups<'_>,
        standing: Option<&SeenTable>,
        wanted: Option<&Table<'_>>,
    ) -> Result<(), Fault> {
        let mut sets = Sets::named_by(names);
        match (standing, wanted) {
            (None, None) => {}
            (None, Some(table)) => {
                let mut chains = Batch::default();
                table.push_chains(&mut chains, &[], &mut sets, cgroups)?;
                if sets.is_empty() {
                    table.push_empty(&mut self.change);
                    self.change.append(chains);
                } else {
                    table.push_empty(&mut self.ahead);
                    let name = table::name(table.instance, table.role);
                    // The table takes its sets with it.
                    sets.push_missing(&mut self.ahead, &mut Batch::default(), &name, &[]);
                    table::push_delete(&mut self.undo, NFPROTO_INET, &name);
                }
            }
            (Some(seen), None) => table::push_delete(&mut self.change, NFPROTO_INET, &seen.name),
            (Some(seen), Some(table)) if seen.flags & table::TABLE_OWNER == table.flags() => {
                let mut chains = list::chains(socket, NFPROTO_INET)?;
                chains.retain(|chain| chain.table == seen.name);
                let stand = list::set_names(socket, NFPROTO_INET, &seen.name)?;
                table.push_refill(&mut self.change, &chains, &mut sets, cgroups)?;
                sets.push_missing(&mut self.ahead, &mut self.undo, &seen.name, &stand);
                sets.push_unused(&mut self.change, &seen.name, &stand);
            }
            // Ownership cannot be changed on a standing table, and no second one can have its
            // name: what another version left is replaced at once, with its sets.
            (Some(seen), Some(table)) => {
                let mut chains = Batch::default();
                table.push_chains(&mut chains, &[], &mut sets, cgroups)?;
                table::push_delete(&mut self.change, NFPROTO_INET, &seen.name);
                table.push_empty(&mut self.change);
                sets.push_missing(&mut self.change, &mut Batch::default(), &seen.name, &[]);
                self.change.append(chains);
            }
        }
        Ok(())
    }
}

/// Whether a standing table may be changed: `false` for one that is another's and not wanted.
pub(super) fn is_ours(
    seen: &SeenTable,
    instance: &Instance,
    role: Role,
    port: u32,
    wanted: bool,
) -> Result<bool, Fault> {
    if seen.tag() != Some((instance.clone(), role)) {
        return match wanted {
            true => Err(Fault::Foreign(seen.clone())),
            false => Ok(false),
        };
    }
    if seen.is_owned() && seen.owner != Some(port) {
        return Err(Fault::Owned(seen.clone()));
    }
    Ok(true)
}
