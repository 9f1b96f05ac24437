//! How a job comes into force, and how another one takes its place.

use steer_core::journal::{Journal, ProcessId, State, overlap};
use steer_core::keeper::{Job, KeeperError};
use steer_core::object::Domain;
use steer_core::plan::{Netns, Planned};

use super::{Held, LocalKeeper};
use crate::drivers::Identities;
use crate::journal::{Entry, process};
use crate::keeper::clean::still;
use crate::keeper::slots;
use crate::keeper::watch::present;
use crate::netns;

impl LocalKeeper {
    /// Puts the first job in force.
    pub(super) fn put_in_force(&mut self, job: &Job) -> Result<(), KeeperError> {
        let instance = job.instance().clone();
        let namespaces = self.drivers.hold(&job.objects)?;
        let mut journal = self.journal(job.clone(), namespaces)?;
        journal.state = State::Committing;
        let predecessor = self.claim(&journal)?;
        let from = predecessor
            .as_ref()
            .map(|last| self.left_by(last, &journal))
            .unwrap_or_default();
        if let Err(error) = self.drivers.set_all(&instance, &from, &job.objects) {
            // Nothing was changed, so the files say what they said.
            match &predecessor {
                Some(last) => self.dir.write(last)?,
                None => self.dir.remove(&instance)?,
            }
            return Err(error.into());
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

    /// Puts a job in the place of the one that is in force.
    pub(super) fn replace(&mut self, job: &Job) -> Result<(), KeeperError> {
        let namespaces = self.drivers.hold(&job.objects)?;
        let Self {
            drivers, dir, held, ..
        } = self;
        let Some(held) = held else {
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
        dir.write(&next)?;
        let wanted = present(&job.objects);
        if let Err(error) = drivers.set_all(job.instance(), &held.standing, &wanted) {
            // Nothing was changed, so the file says what it said.
            dir.write(&held.journal)?;
            return Err(error.into());
        }
        held.journal = next;
        held.standing = job.objects.clone();
        Ok(())
    }

    /// What a predecessor left that can be changed from here: its cgroups are everywhere the same,
    /// all else is in namespaces of its own, which may have other paths or be gone.
    fn left_by(&self, last: &Journal, journal: &Journal) -> Vec<Planned> {
        let objects = last.job.objects.iter();
        objects
            .filter_map(|planned| {
                let netns = match &planned.netns {
                    _ if planned.object.domain() == Domain::Cgroup => planned.netns.clone(),
                    Netns::Here => (last.netns == journal.netns).then_some(Netns::Here)?,
                    Netns::Path(path) => {
                        let id = last.namespaces.get(path)?;
                        Netns::Path(still(&self.drivers, path, id)?)
                    }
                    _ => return None,
                };
                Some(Planned {
                    netns,
                    ..planned.clone()
                })
            })
            .collect()
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
        for Entry {
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
                Some(pid) if !other.places().is_disjoint(&journal.places()) => {
                    if let Some(scope) = overlap(&journal.job.scope, &other.job.scope) {
                        return Err(KeeperError::Overlap {
                            instance,
                            pid,
                            scope,
                        });
                    }
                }
                None if same => predecessor = Some(other),
                Some(_) | None => {}
            }
        }
        slots::check(&self.dir, journal)?;
        self.dir.write(journal)?;
        drop(lock);
        Ok(predecessor)
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
