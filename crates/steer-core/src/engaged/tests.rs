use super::*;
use crate::address::{Family, Protocol};
use crate::instance::Instance;
use crate::intent::Scope;
use crate::keeper::NoKeeper;
use crate::method::Method;
use crate::object::{Binding, PolicyRule};
use crate::plan::Life;
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
        if slot.number == UNSEEN {
            return Err(KeeperError::SlotHeld {
                number: slot.number,
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

/// A slot of somebody who is not seen but by its being taken.
const UNSEEN: u8 = 1;

#[test]
fn a_slot_of_somebody_who_is_not_seen_is_left_for_the_next_whatever_the_mark() {
    let plan = marking();
    let mut intent = Intent::new(Instance::new("test").unwrap(), Scope::command());
    for mark in [None, Some(Mark::slot(RACED))] {
        intent.steer = mark;
        let (slot_tx, slots) = std::sync::mpsc::channel();
        let keeper = Box::new(Crowded(vec![0], slot_tx));
        drop(Engaged::engage(keeper, &intent, &plan, None).unwrap());
        assert_eq!(slots.recv().unwrap().unwrap().number, 2);
    }
}

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
    let keeper = Box::new(Crowded(vec![0, UNSEEN], slot_tx.clone()));
    drop(Engaged::engage(keeper, &intent, &plan, None).unwrap());
    assert_eq!(slots.recv().unwrap(), Some(Slot::numbered(2)));
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

/// A keeper that tells what it is asked to put in force, and fails where it shall.
#[derive(Debug)]
struct Telling {
    jobs: std::sync::mpsc::Sender<Job>,
    fails: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Keeper for Telling {
    fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
        if self.fails.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(KeeperError::NoNamespaces);
        }
        self.jobs.send(job.clone()).unwrap();
        Ok(())
    }

    fn retire(&mut self) -> Result<(), KeeperError> {
        Ok(())
    }

    fn release(&mut self) -> Result<Released, KeeperError> {
        Ok(Released::Clean)
    }
}

#[test]
fn another_plan_takes_the_place_of_the_first_with_the_values_of_its_symbols() {
    let (jobs_tx, jobs) = std::sync::mpsc::channel();
    let fails = std::sync::Arc::default();
    let keeper = Box::new(Telling {
        jobs: jobs_tx,
        fails: std::sync::Arc::clone(&fails),
    });
    let mut intent = Intent::new(Instance::new("test").unwrap(), Scope::default());
    let mut engaged = Engaged::engage(keeper, &intent, &marking(), None).unwrap();
    let first = jobs.recv().unwrap();
    intent.on_failure = Some(crate::intent::OnFailure::Closed);
    let mut next = marking();
    let six = match next.objects[0].object.clone() {
        Object::Rule(rule) => PolicyRule {
            family: Family::V6,
            ..rule
        },
        other => panic!("{other}"),
    };
    next.push(Life::Steer, Object::Rule(six));
    engaged.change(&intent, &next, Followed::new()).unwrap();
    let second = jobs.recv().unwrap();
    assert_eq!(second.bindings, first.bindings);
    assert_eq!(second.on_failure, crate::intent::OnFailure::Closed);
    assert_eq!(second.objects.len(), 2);
    // One that fails leaves what was: names are then followed by the plan before it.
    fails.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = engaged
        .change(&intent, &marking(), Followed::new())
        .unwrap_err();
    assert!(matches!(error, ChangeError::Engage(_)), "{error}");
    fails.store(false, std::sync::atomic::Ordering::Relaxed);
    let names = [(
        crate::symbol::NameSet::Included,
        [Family::V4.loopback()].into(),
    )];
    engaged.follow(names.into()).unwrap();
    assert_eq!(jobs.recv().unwrap().objects.len(), 2);
}

#[test]
fn what_lasts_as_long_as_a_steering_is_named_and_nothing_is_changed() {
    let (jobs_tx, jobs) = std::sync::mpsc::channel();
    let keeper = Box::new(Telling {
        jobs: jobs_tx,
        fails: std::sync::Arc::default(),
    });
    let intent = Intent::new(Instance::new("test").unwrap(), Scope::default());
    let plan = marking();
    let mut engaged = Engaged::engage(keeper, &intent, &plan, None).unwrap();
    jobs.recv().unwrap();
    let mut opening = plan.clone();
    opening.push(
        Life::Steer,
        Object::Listener(Listener {
            id: ListenerId("outbound".to_owned()),
            method: Method::Redirect,
            protocol: Protocol::Tcp,
            addresses: vec![Family::V4.loopback()],
            port: None,
            to: None,
            binding: Binding::Own,
            app: None,
        }),
    );
    let mut elsewhere = plan.clone();
    elsewhere.objects[0].netns = Netns::Path("/run/netns/steer-none".to_owned());
    for (next, word) in [
        (&opening, "outbound"),
        (&elsewhere, "marks"),
        (&Plan::new(Method::Tproxy), "marks"),
    ] {
        let error = engaged.change(&intent, next, Followed::new()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.help().contains("restart"));
    }
    drop(engaged);
    assert!(jobs.recv().is_err());
}
