//! A plan in force.

mod change;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use tokio::net::unix::pipe::Receiver;

use crate::intake::{Bound, Sockets};
use crate::intent::Intent;
use crate::keeper::{EngageError, Job, Keeper, KeeperError, Released};
use crate::listen;
use crate::mark::Mark;
use crate::netns::Held;
use crate::object::{Binding, ChildSetting, Domain, Listener, Object};
use crate::plan::{Netns, Plan, Planned};
use crate::symbol::{Bindings, Followed, Slot};

pub use change::{ChangeError, lasting};

/// A plan in force: losing it undoes it.
///
/// Listeners accept before anything steers; dropping the guard releases the host's objects, also
/// on a panic.
#[derive(Debug)]
#[must_use = "dropping it stops the steering"]
pub struct Engaged {
    keeper: Box<dyn Keeper>,
    plan: Plan,
    job: Job,
    bound: Vec<Bound>,
    child: Vec<ChildSetting>,
    released: bool,
    /// What the plan's paths mean for as long as it is in force.
    _namespaces: Vec<Held>,
}

impl Engaged {
    /// Opens the plan's listeners, then has the keeper make the host's objects.
    ///
    /// `own_cgroup` is the caller's cgroup, below which a command's is made.
    ///
    /// # Errors
    /// Nothing is changed when an error is returned.
    pub fn engage(
        mut keeper: Box<dyn Keeper>,
        intent: &Intent,
        plan: &Plan,
        own_cgroup: Option<&str>,
    ) -> Result<Self, EngageError> {
        let mut bindings = Bindings::new(intent.instance.clone());
        if plan.wants_command_cgroup() {
            bindings.command_cgroup = own_cgroup.map(|own| {
                let name = format!("steer-{}", intent.instance);
                if own.is_empty() {
                    name
                } else {
                    format!("{own}/{name}")
                }
            });
        }
        let namespaces = hold(plan)?;
        keeper.await_predecessors()?;
        let mut taken = Vec::new();
        if plan.wants_slot() {
            taken = keeper.slots_taken(&plan.marked_in())?;
            bindings.slot = Some(free_slot(&taken, intent)?);
        }
        if let Some(namespace) = plan.namespace() {
            bindings.holder = Some(keeper.make(namespace)?);
        }
        let mut bound: Vec<Bound> = Vec::new();
        for planned in &plan.objects {
            if let Object::Listener(listener) = &planned.object {
                let inside = planned.netns == Netns::New;
                let (port, sockets) = match inside {
                    true => keeper.listen(listener)?,
                    false => listen::open(listener, &planned.netns)?,
                };
                match &sockets {
                    Sockets::Control(socket) => {
                        let name = listen::control_name(socket)?;
                        bindings.controls.insert(listener.id.clone(), name);
                    }
                    Sockets::Tcp(_) | Sockets::Udp(_) => {
                        bindings.ports.insert(listener.id.clone(), port);
                    }
                }
                if listener.binding == Binding::Lo {
                    let unmarked = |source| EngageError::Control {
                        id: listener.id.to_string(),
                        source,
                    };
                    sockets.mark(intent.bypass).map_err(unmarked)?;
                }
                bound.push(Bound {
                    listener: Listener {
                        port: Some(port),
                        ..listener.clone()
                    },
                    netns: planned.netns.clone(),
                    sockets,
                    inside: inside.then(|| keeper.sockets()).flatten(),
                    shared: Vec::new(),
                });
            }
        }
        let child = plan
            .objects
            .iter()
            .filter(|p| matches!(p.object, Object::Child(_)))
            .map(|p| p.object.resolve(&bindings))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .filter_map(|object| match object {
                Object::Child(setting) => Some(setting.reveal()),
                _ => None,
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut job = Job {
            method: plan.method,
            on_failure: intent.failure(),
            scope: intent.scope.clone(),
            objects: plan.host_objects(&bindings)?,
            bindings,
        };
        // Datagrams need no port that is held: nobody else gets what is not for a transparent
        // socket of his, and what a dead engine would take had better be refused.
        let listeners: Vec<_> = bound
            .iter()
            .filter_map(|b| match &b.sockets {
                // Hooks look who has the port, and are not to find it held by nobody.
                Sockets::Tcp(sockets) if b.listener.binding != Binding::Lo => Some(sockets),
                Sockets::Tcp(_) | Sockets::Udp(_) | Sockets::Control(_) => None,
            })
            .flatten()
            .map(AsFd::as_fd)
            .collect();
        keeper.hold(&listeners)?;
        while let Err(error) = keeper.commit(&job) {
            // Somebody else has taken the slot between the question and the start, or cannot be
            // seen but by what he holds.
            let another_helps = match &error {
                KeeperError::SlotHeld { .. } => true,
                KeeperError::Marked { .. } | KeeperError::MarkHeld { .. } => intent.steer.is_none(),
                _ => false,
            };
            match job.bindings.slot {
                Some(slot) if another_helps => {
                    taken.push(slot.number);
                    job.bindings.slot = Some(free_slot(&taken, intent)?);
                    job.objects = plan.host_objects(&job.bindings)?;
                }
                _ => return Err(error.into()),
            }
        }
        let used =
            |planned: &Planned| matches!(planned.object.domain(), Domain::Ebpf | Domain::Device);
        let users = if plan.objects.iter().any(used) {
            bound.len()
        } else {
            0
        };
        for one in bound.iter_mut().take(users) {
            one.shared = keeper.shared().map_err(|source| KeeperError::Lost {
                what: "share what it made".to_owned(),
                source,
            })?;
        }
        Ok(Self {
            keeper,
            plan: plan.clone(),
            job,
            bound,
            child,
            released: false,
            _namespaces: namespaces,
        })
    }

    /// The values that the plan's symbols got.
    #[must_use]
    pub const fn bindings(&self) -> &Bindings {
        &self.job.bindings
    }

    /// Has the rules follow names: from its return on they know these addresses, and no others.
    ///
    /// What stands is changed in one transaction; flows that were taken go on.
    ///
    /// # Errors
    /// What stood stands.
    pub fn follow(&mut self, names: Followed) -> Result<(), EngageError> {
        if self.job.bindings.names == names {
            return Ok(());
        }
        let mut bindings = self.job.bindings.clone();
        bindings.names = names;
        let job = Job {
            objects: self.plan.host_objects(&bindings)?,
            bindings,
            ..self.job.clone()
        };
        self.keeper.commit(&job)?;
        self.job = job;
        Ok(())
    }

    /// Makes again what others took away of what is in force.
    ///
    /// # Errors
    /// What stood stands.
    pub fn renew(&mut self) -> Result<(), KeeperError> {
        self.keeper.commit(&self.job)
    }

    /// Hands over the listeners, for [`Steerer::intake`](crate::steerer::Steerer::intake).
    pub fn take_bound(&mut self) -> Vec<Bound> {
        std::mem::take(&mut self.bound)
    }

    /// How the command has to be started.
    #[must_use]
    pub fn child(&self) -> &[ChildSetting] {
        &self.child
    }

    /// Takes no further flow and lets those that were taken go on; call before draining.
    pub fn retire(&mut self) -> Result<(), KeeperError> {
        self.keeper.retire()
    }

    /// Waits until the keeper is gone, for ever where it cannot be; then [`Engaged::restore`].
    ///
    /// Cancel safe. Needs a tokio runtime.
    pub fn lost(&self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let end = self
            .keeper
            .lost()?
            .map(|pipe| Receiver::from_owned_fd(pipe.into()))
            .transpose()?;
        Ok(async move {
            match end {
                // An error of the poll is an end as well: `restore` finds out.
                Some(pipe) => drop(pipe.readable().await),
                None => std::future::pending().await,
            }
        })
    }

    /// Puts a successor in the place of a keeper that is gone.
    pub fn restore(&mut self) -> Result<(), KeeperError> {
        self.keeper.restore()
    }

    /// Undoes the plan.
    pub fn release(mut self) -> Result<Released, KeeperError> {
        self.released = true;
        self.keeper.release()
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        if !self.released
            && let Err(error) = self.keeper.release()
        {
            tracing::warn!(%error, help = error.help(), "the steering could not be undone");
        }
    }
}

/// Holds the namespaces of a plan before anything is opened in one of them.
fn hold(plan: &Plan) -> Result<Vec<Held>, EngageError> {
    let places: BTreeSet<&Netns> = plan.objects.iter().map(|planned| &planned.netns).collect();
    let mut held = Vec::new();
    for netns in places {
        held.extend(Held::of(netns).map_err(|source| EngageError::of_netns(netns, source))?);
    }
    Ok(held)
}

/// A slot that no steering in force here uses: the lowest, so that numbers stay the same from one
/// start to the next.
fn free_slot(taken: &[u8], intent: &Intent) -> Result<Slot, EngageError> {
    match intent.steer {
        // Whoever writes a mark has chosen one for this instance; the table is still sought.
        Some(mark) => lowest(taken).map(|number| Slot { number, mark }),
        None => lowest(taken).map(Slot::numbered),
    }
    .ok_or(EngageError::NoSlot)
}

fn lowest(taken: &[u8]) -> Option<u8> {
    (0..Mark::SLOTS).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests;
