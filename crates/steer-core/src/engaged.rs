//! A plan in force.

use std::io;
use std::os::fd::AsFd;

use tokio::net::unix::pipe::Receiver;

use crate::intake::{Bound, Sockets};
use crate::intent::Intent;
use crate::keeper::{EngageError, Job, Keeper, KeeperError, Released};
use crate::listen;
use crate::mark::Mark;
use crate::object::{ChildSetting, Listener, Object};
use crate::plan::Plan;
use crate::symbol::{Bindings, Followed, Slot};

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
        keeper.await_predecessors()?;
        let mut taken = Vec::new();
        if plan.wants_slot() {
            taken = keeper.slots_taken(&plan.marked_in())?;
            bindings.slot = Some(free_slot(&taken, intent)?);
        }
        let mut bound: Vec<Bound> = Vec::new();
        for planned in &plan.objects {
            if let Object::Listener(listener) = &planned.object {
                let (port, sockets) = listen::open(listener, &planned.netns)?;
                bindings.ports.insert(listener.id.clone(), port);
                bound.push(Bound {
                    listener: Listener {
                        port: Some(port),
                        ..listener.clone()
                    },
                    netns: planned.netns.clone(),
                    sockets,
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
                Sockets::Tcp(sockets) => Some(sockets),
                Sockets::Udp(_) => None,
            })
            .flatten()
            .map(AsFd::as_fd)
            .collect();
        keeper.hold(&listeners)?;
        while let Err(error) = keeper.commit(&job) {
            // Somebody else has taken the slot between the question and the start.
            match (&error, job.bindings.slot) {
                (KeeperError::Marked { .. }, Some(slot)) if intent.steer.is_none() => {
                    taken.push(slot.number);
                    job.bindings.slot = Some(free_slot(&taken, intent)?);
                    job.objects = plan.host_objects(&job.bindings)?;
                }
                _ => return Err(error.into()),
            }
        }
        Ok(Self {
            keeper,
            plan: plan.clone(),
            job,
            bound,
            child,
            released: false,
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
mod tests {
    use super::*;
    use crate::address::{Family, Protocol};
    use crate::instance::Instance;
    use crate::intent::Scope;
    use crate::keeper::NoKeeper;
    use crate::method::Method;
    use crate::object::{Binding, PolicyRule};
    use crate::plan::{Life, Netns};
    use crate::symbol::{ListenerId, MarkRef, TableRef};

    #[test]
    fn a_listener_in_a_namespace_that_is_not_there_is_an_error() {
        let mut plan = Plan::new(Method::Redirect);
        plan.push(
            Life::Steer,
            Object::Listener(Listener {
                id: ListenerId("outbound".to_owned()),
                method: Method::Redirect,
                protocol: Protocol::Tcp,
                addresses: Family::ALL.map(Family::loopback).to_vec(),
                port: None,
                to: None,
                binding: Binding::Own,
                app: None,
            }),
        );
        let intent = Intent::new(Instance::new("test").unwrap(), Scope::command());
        let mut here = Engaged::engage(Box::new(NoKeeper), &intent, &plan, None).unwrap();
        let bound = here.take_bound().remove(0);
        let ports: Vec<u16> = bound
            .sockets
            .addresses()
            .unwrap()
            .iter()
            .map(std::net::SocketAddr::port)
            .collect();
        assert_eq!(ports, [ports[0]; 2]);
        assert_eq!(bound.listener.port, Some(ports[0]));
        plan.objects[0].netns = Netns::Path("/run/netns/steer-none".to_owned());
        let elsewhere = Engaged::engage(Box::new(NoKeeper), &intent, &plan, None);
        let error = elsewhere.expect_err("not quietly opened here");
        assert!(error.to_string().contains("/run/netns/steer-none"));
    }

    /// A keeper beside which others have slots.
    #[derive(Debug)]
    struct Crowded(Vec<u8>, std::sync::mpsc::Sender<Option<Slot>>);

    impl Keeper for Crowded {
        fn slots_taken(&mut self, places: &[Netns]) -> Result<Vec<u8>, KeeperError> {
            assert_eq!(places, [Netns::Here]);
            Ok(self.0.clone())
        }

        fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
            let slot = job.bindings.slot.unwrap();
            if slot.number == RACED {
                return Err(KeeperError::Marked {
                    instance: Instance::new("other").unwrap(),
                    pid: 1,
                    mark: slot.mark,
                });
            }
            let Object::Rule(rule) = &job.objects[0].object else {
                panic!("the plan's only object is a rule");
            };
            assert_eq!(rule.mark, MarkRef::Fixed(slot.mark));
            assert_eq!(rule.table, TableRef::Fixed(slot.table()));
            self.1.send(Some(slot)).unwrap();
            Ok(())
        }

        fn retire(&mut self) -> Result<(), KeeperError> {
            Ok(())
        }

        fn release(&mut self) -> Result<Released, KeeperError> {
            Ok(Released::Clean)
        }
    }

    /// A slot that somebody takes after the question.
    const RACED: u8 = 3;

    #[test]
    fn a_slot_that_is_taken_meanwhile_is_left_for_the_next_unless_its_mark_is_written() {
        let plan = marking();
        let mut intent = Intent::new(Instance::new("test").unwrap(), Scope::command());
        let (slot_tx, _slots) = std::sync::mpsc::channel();
        let keeper = || Box::new(Crowded(vec![0, 1, 2], slot_tx.clone()));
        let error = Engaged::engage(keeper(), &intent, &plan, None).unwrap_err();
        assert!(matches!(error, EngageError::NoSlot), "{error}");
        intent.steer = Some(Mark::slot(RACED));
        let error = Engaged::engage(keeper(), &intent, &plan, None).unwrap_err();
        let EngageError::Keeper(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(error, KeeperError::Marked { .. }), "{error}");
    }

    fn marking() -> Plan {
        let mut plan = Plan::new(Method::Tproxy);
        let rule = PolicyRule {
            family: Family::V4,
            mark: MarkRef::Steer,
            interface: None,
            table: TableRef::Steer,
        };
        plan.push(Life::Steer, Object::Rule(rule));
        plan
    }

    #[test]
    fn a_plan_that_marks_gets_the_lowest_free_slot_and_an_error_when_all_are_taken() {
        let plan = marking();
        let intent = Intent::new(Instance::new("test").unwrap(), Scope::command());
        let (slot_tx, slots) = std::sync::mpsc::channel();
        let keeper = Box::new(Crowded(vec![0, 2], slot_tx.clone()));
        drop(Engaged::engage(keeper, &intent, &plan, None).unwrap());
        assert_eq!(slots.recv().unwrap(), Some(Slot::numbered(1)));
        let full = Box::new(Crowded((0..Mark::SLOTS).collect(), slot_tx));
        let error = Engaged::engage(full, &intent, &plan, None).unwrap_err();
        assert!(matches!(error, EngageError::NoSlot), "{error}");
    }

    /// A keeper that shows its jobs, and fails where one has the address of refusal.
    #[derive(Debug)]
    struct Showing(std::sync::mpsc::Sender<Job>);

    impl Keeper for Showing {
        fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
            let names = job.bindings.names.values().flatten();
            self.0.send(job.clone()).unwrap();
            match names.into_iter().any(|ip| ip.is_unspecified()) {
                true => Err(KeeperError::Lost {
                    what: "refused".to_owned(),
                    source: io::ErrorKind::Other.into(),
                }),
                false => Ok(()),
            }
        }

        fn retire(&mut self) -> Result<(), KeeperError> {
            Ok(())
        }

        fn release(&mut self) -> Result<Released, KeeperError> {
            Ok(Released::Clean)
        }
    }

    #[test]
    fn followed_names_change_the_job_once_and_not_at_all_where_the_keeper_fails() {
        use crate::symbol::NameSet;
        let (job_tx, jobs) = std::sync::mpsc::channel();
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        let plan = Plan::new(Method::Redirect);
        let keeper = Box::new(Showing(job_tx));
        let mut engaged = Engaged::engage(keeper, &intent, &plan, None).unwrap();
        assert!(jobs.recv().unwrap().bindings.names.is_empty());
        let names = |ip: &str| {
            let ips = [ip.parse().unwrap()].into_iter().collect();
            Followed::from([(NameSet::Included, ips)])
        };
        engaged.follow(names("192.0.2.1")).unwrap();
        engaged.follow(names("192.0.2.1")).unwrap();
        assert_eq!(jobs.try_iter().count(), 1, "the same again changes nothing");
        assert!(engaged.follow(names("0.0.0.0")).is_err());
        assert_eq!(engaged.bindings().names, names("192.0.2.1"));
    }

    /// A keeper whose end the test decides.
    #[derive(Debug)]
    struct Mortal {
        life: io::PipeReader,
        restored: std::sync::mpsc::Sender<()>,
    }

    impl Keeper for Mortal {
        fn commit(&mut self, _: &Job) -> Result<(), KeeperError> {
            Ok(())
        }

        fn retire(&mut self) -> Result<(), KeeperError> {
            Ok(())
        }

        fn release(&mut self) -> Result<Released, KeeperError> {
            Ok(Released::Clean)
        }

        fn lost(&self) -> io::Result<Option<io::PipeReader>> {
            self.life.try_clone().map(Some)
        }

        fn restore(&mut self) -> Result<(), KeeperError> {
            self.restored.send(()).unwrap();
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_loss_of_the_keeper_is_told_and_a_successor_can_be_had() {
        let (life, alive) = io::pipe().unwrap();
        let (restored_tx, restored) = std::sync::mpsc::channel();
        let keeper = Mortal {
            life,
            restored: restored_tx,
        };
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        let plan = Plan::new(Method::Redirect);
        let mut engaged = Engaged::engage(Box::new(keeper), &intent, &plan, None).unwrap();
        let mut lost = std::pin::pin!(engaged.lost().unwrap());
        let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(lost.as_mut().poll(cx)));
        assert!(pending.await.is_pending());
        drop(alive);
        lost.await;
        engaged.restore().unwrap();
        restored.recv().unwrap();
    }
}
