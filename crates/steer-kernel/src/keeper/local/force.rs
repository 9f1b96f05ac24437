//! How a job comes into force, and how another one takes its place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use steer_core::journal::{Journal, ProcessId, State, overlap};
use steer_core::keeper::{Job, KeeperError};
use steer_core::object::Domain;
use steer_core::plan::{Netns, Planned};

use super::{Held, LocalKeeper};
use crate::drivers::claims::Claim;
use crate::drivers::{Borrowed, Identities};
use crate::journal::{self, process};
use crate::keeper::clean::still;
use crate::keeper::slots;
use crate::keeper::watch::{awaited, awaited_after};
use crate::netns;

/// What a predecessor left.
#[derive(Debug, Default)]
struct Left {
    objects: Vec<Planned>,
    /// What keeps others from it while it is changed, by namespace and claim.
    borrowed: BTreeMap<(Netns, String), Borrowed>,
}

impl LocalKeeper {
    /// Puts the first job in force.
    pub(super) fn put_in_force(&mut self, job: &Job) -> Result<(), KeeperError> {
        let instance = job.instance().clone();
        let namespaces = self.drivers.hold(&job.objects)?;
        let mut journal = self.journal(job.clone(), namespaces)?;
        journal.state = State::Committing;
        let predecessor = self.claim(&journal)?;
        if let Err(error) = self.make(job, predecessor.as_ref(), &journal) {
            // Nothing was changed, so the files say what they said.
            match &predecessor {
                Some(last) => self.dir.write(last)?,
                None => self.dir.remove(&instance)?,
            }
            return Err(error);
        }
        journal.state = State::Engaged;
        let written = self.dir.write(&journal);
        self.held = Some(Held {
            journal,
            standing: job.objects.clone(),
        });
        if let Err(error) = written {
            self.undo()?;
            return Err(error);
        }
        Ok(())
    }

    /// Makes the objects of a job, in the place of what a predecessor left.
    fn make(
        &mut self,
        job: &Job,
        predecessor: Option<&Journal>,
        journal: &Journal,
    ) -> Result<(), KeeperError> {
        self.drivers.claim(job)?;
        let Left {
            objects,
            borrowed: _borrowed,
        } = match predecessor {
            Some(last) => self.left_by(last, journal)?,
            None => Left::default(),
        };
        let wanted = awaited(&job.objects);
        self.drivers.set_all(job.instance(), &objects, &wanted)?;
        Ok(())
    }

    /// Puts a job in the place of the one that is in force.
    pub(super) fn replace(&mut self, job: &Job) -> Result<(), KeeperError> {
        let namespaces = self.drivers.hold(&job.objects)?;
        let Some(held) = &self.held else {
            return Ok(());
        };
        if job.instance() != held.journal.job.instance() {
            return Err(KeeperError::Taken {
                instance: held.journal.job.instance().clone(),
                pid: held.journal.engine.pid,
            });
        }
        let next = Journal {
            job: job.clone(),
            namespaces,
            ..held.journal.clone()
        };
        let says_more = self.announce(&next)?;
        let Self {
            drivers, dir, held, ..
        } = self;
        let Some(held) = held else {
            return Ok(());
        };
        let wanted = awaited_after(&job.objects, &held.journal.job.objects);
        if let Err(error) = drivers.set_all(job.instance(), &held.standing, &wanted) {
            // Nothing was changed, so the file says what it said.
            dir.write(&held.journal)?;
            return Err(error.into());
        }
        held.journal = next;
        held.standing = job.objects.clone();
        if says_more {
            // Whoever goes by it looks for more than there is: no reason to undo anything.
            let _ = dir.write(&held.journal);
        }
        Ok(())
    }

    /// Writes what will be in force, and what may stand until then, by which a crash in between is
    /// undone; tells whether that is more. Whoever else steers must not have the same traffic.
    fn announce(&self, next: &Journal) -> Result<bool, KeeperError> {
        let Some(held) = &self.held else {
            return Ok(false);
        };
        let _lock = self.dir.lock()?;
        if next.job.scope != held.journal.job.scope {
            for entry in self.dir.read()? {
                if let Ok(other) = &entry.journal
                    && entry.instance != *next.job.instance()
                {
                    apart(next, other, self.engine)?;
                }
            }
        }
        let mut both = next.clone();
        // All else bears the instance's name and is found by that.
        let nameless = |p: &&Planned| p.object.domain() == Domain::Route;
        let before = held.journal.job.objects.iter().filter(nameless);
        let gone = before.filter(|p| !next.job.objects.contains(p));
        both.job.objects.extend(gone.cloned());
        self.dir.write(&both)?;
        Ok(both.job.objects.len() > next.job.objects.len())
    }

    /// What a predecessor left that can be changed from here: its cgroups are everywhere the same,
    /// all else is in namespaces of its own, which may have other paths or be gone, and where its
    /// name or its slot may be somebody else's by now.
    fn left_by(&self, last: &Journal, journal: &Journal) -> Result<Left, KeeperError> {
        let mut left = Left::default();
        for planned in &last.job.objects {
            let domain = planned.object.domain();
            let netns = match &planned.netns {
                _ if domain == Domain::Cgroup => Some(planned.netns.clone()),
                // At cgroups, wherever their sockets are: one change for both.
                _ if domain == Domain::Ebpf => {
                    let hooks = |p: &&Planned| p.object.domain() == Domain::Ebpf;
                    let next = journal.job.objects.iter().find(hooks);
                    Some(next.map_or(Netns::Here, |next| next.netns.clone()))
                }
                Netns::Here => (last.netns == journal.netns).then_some(Netns::Here),
                Netns::Path(path) => {
                    let id = last.namespaces.get(path);
                    id.and_then(|id| still(&self.drivers, path, id).map(Netns::Path))
                }
                _ => None,
            };
            let Some(netns) = netns else {
                continue;
            };
            let claim = match (domain, last.job.bindings.slot) {
                (Domain::Cgroup, _) | (Domain::Route, None) => None,
                (Domain::Route, Some(slot)) => Some(Claim::Slot(slot.number)),
                _ => Some(Claim::Name(last.job.instance().clone())),
            };
            if let Some(claim) = claim {
                let borrowed = match left.borrowed.entry((netns.clone(), claim.to_string())) {
                    Entry::Vacant(place) => place.insert(self.drivers.borrow(&netns, &claim)?),
                    Entry::Occupied(place) => place.into_mut(),
                };
                if matches!(borrowed, Borrowed::Theirs) {
                    continue;
                }
            }
            left.objects.push(Planned {
                netns,
                ..planned.clone()
            });
        }
        Ok(left)
    }

    pub(super) fn journal(&self, job: Job, namespaces: Identities) -> Result<Journal, KeeperError> {
        let netns = netns::current().map_err(|source| KeeperError::Journal {
            path: self.dir.file(job.instance()).display().to_string(),
            source,
        })?;
        Ok(Journal {
            job,
            engine: self.engine,
            keeper: process::this(),
            netns,
            namespaces,
            state: State::Engaged,
            failures: Vec::new(),
        })
    }

    /// What a crashed predecessor of the same name left, once nobody else is in the way.
    fn claim(&self, journal: &Journal) -> Result<Option<Journal>, KeeperError> {
        let lock = self.dir.lock()?;
        let mut predecessor = None;
        for journal::Entry {
            instance,
            journal: other,
            ..
        } in self.dir.read()?
        {
            let same = instance == *journal.job.instance();
            let Ok(other) = other else {
                // One that cannot be read tells nothing of who lives; only its own name replaces it.
                continue;
            };
            match holder(&other, self.engine) {
                Some(pid) if same => return Err(KeeperError::Taken { instance, pid }),
                None if same => predecessor = Some(other),
                Some(_) | None => apart(journal, &other, self.engine)?,
            }
        }
        slots::check(&self.dir, journal)?;
        self.dir.write(journal)?;
        drop(lock);
        Ok(predecessor)
    }
}

/// Refuses a steering whose traffic is another one's that is in force.
fn apart(journal: &Journal, other: &Journal, engine: ProcessId) -> Result<(), KeeperError> {
    let Some(pid) = holder(other, engine) else {
        return Ok(());
    };
    if other.places().is_disjoint(&journal.places()) {
        return Ok(());
    }
    match overlap(&journal.job.scope, &other.job.scope) {
        Some(scope) => Err(KeeperError::Overlap {
            instance: other.job.instance().clone(),
            pid,
            scope,
        }),
        None => Ok(()),
    }
}

/// The process that holds a steering in force; an engine's own keeper that is gone holds nothing.
fn holder(journal: &Journal, engine: ProcessId) -> Option<u32> {
    let Journal {
        engine: theirs,
        keeper,
        ..
    } = journal;
    if process::is_alive(*keeper) && *keeper != *theirs {
        let engine_lives = process::is_alive(*theirs);
        Some(if engine_lives { theirs.pid } else { keeper.pid })
    } else if process::is_alive(*theirs) && (*theirs != engine || *keeper == *theirs) {
        Some(theirs.pid)
    } else {
        None
    }
}
