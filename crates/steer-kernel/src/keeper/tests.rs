use steer_core::address::{Family, IdRange};
use steer_core::driver::Found;
use steer_core::instance::Instance;
use steer_core::intent::{OnFailure, Scope, Selector};
use steer_core::journal::{Journal, ProcessId, State};
use steer_core::keeper::{Job, Keeper, KeeperError, Released};
use steer_core::method::Method;
use steer_core::object::{Domain, IptablesVariant, Object};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::{Role, Ruleset};
use steer_core::symbol::{Bindings, CgroupRef};

mod routes;
mod swap;

use super::{LocalKeeper, Reach, clean};
use crate::fake::FakeHost;
use crate::journal::{RunDir, process};

fn rules(role: Role) -> Ruleset {
    Ruleset {
        role,
        families: Family::ALL.to_vec(),
        chains: Vec::new(),
    }
}

fn job(name: &str, uid: u32, on_failure: OnFailure) -> Job {
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object,
    };
    let cgroup = CgroupRef::Path(format!("steer-{name}"));
    Job {
        method: Method::Redirect,
        bindings: Bindings::new(Instance::new(name).unwrap()),
        on_failure,
        scope: Scope {
            of: Selector {
                uid: vec![IdRange::new(uid, uid).unwrap()],
                ..Selector::default()
            },
            ..Scope::default()
        },
        objects: vec![
            planned(Life::Support, Object::Cgroup(cgroup)),
            planned(Life::Guard, Object::Nft(rules(Role::Guard))),
            planned(Life::Steer, Object::Nft(rules(Role::Steer))),
            planned(
                Life::Steer,
                Object::Iptables(rules(Role::Steer), IptablesVariant::Nft),
            ),
        ],
    }
}

struct World {
    outer: tempfile::TempDir,
    host: FakeHost,
}

impl World {
    fn new() -> Self {
        Self {
            outer: tempfile::tempdir().unwrap(),
            host: FakeHost::new(),
        }
    }

    fn dir(&self) -> RunDir {
        RunDir::at(self.outer.path().join("steer"))
    }

    fn keeper(&self) -> LocalKeeper {
        LocalKeeper::new(self.host.drivers(), self.dir())
    }

    fn journal(&self) -> Journal {
        self.dir().read().unwrap().remove(0).journal.unwrap()
    }

    fn is_untouched(&self) -> bool {
        self.host.state() == FakeHost::new().state() && !self.dir().path().exists()
    }

    /// As if the process that wrote the journal had died: a number that is nobody's.
    fn kill_journal(&self) {
        let gone = ProcessId {
            pid: process::this().pid,
            started: 1,
        };
        let journal = Journal {
            engine: gone,
            keeper: gone,
            ..self.journal()
        };
        self.dir().write(&journal).unwrap();
    }
}

#[test]
fn commit_then_release_leaves_the_host_as_it_was() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Closed)).unwrap();
    assert_eq!(world.journal().state, State::Engaged);
    assert_eq!(world.host.state().ours.len(), 3);
    assert_eq!(keeper.release().unwrap(), Released::Clean);
    assert!(world.is_untouched());
    assert_eq!(keeper.release().unwrap(), Released::Clean);
}

#[test]
fn a_commit_that_fails_at_any_step_leaves_no_journal_and_no_object() {
    let world = World::new();
    let mut steps = 0;
    loop {
        world.host.fail_at([steps]);
        let mut keeper = world.keeper();
        match keeper.commit(&job("main", 7, OnFailure::Open)) {
            Err(error) => {
                assert!(matches!(error, KeeperError::Driver(_)), "{error}");
                assert!(world.is_untouched(), "step {steps}");
            }
            Ok(()) => break,
        }
        steps += 1;
    }
    assert!(steps >= 3, "a failure was tried in every domain");
}

#[test]
fn nothing_is_changed_where_the_journal_cannot_be_written() {
    let world = World::new();
    let dir = RunDir::at("/proc/steer");
    let mut keeper = LocalKeeper::new(world.host.drivers(), dir);
    let error = keeper.commit(&job("main", 7, OnFailure::Open)).unwrap_err();
    assert!(matches!(error, KeeperError::Journal { .. }), "{error}");
    assert!(world.host.operations().is_empty());
}

#[test]
fn a_live_instance_of_the_same_name_is_not_replaced() {
    let world = World::new();
    let mut first = world.keeper();
    first.commit(&job("main", 7, OnFailure::Open)).unwrap();
    let before = world.host.state();
    let error = world
        .keeper()
        .commit(&job("main", 8, OnFailure::Open))
        .unwrap_err();
    assert!(matches!(error, KeeperError::Taken { .. }), "{error}");
    assert!(error.help().contains("--name"));
    assert_eq!(world.host.state(), before);
}

#[test]
fn an_overlapping_scope_is_refused_and_another_one_is_not() {
    let world = World::new();
    let mut first = world.keeper();
    first.commit(&job("main", 7, OnFailure::Open)).unwrap();
    let error = world
        .keeper()
        .commit(&job("other", 7, OnFailure::Open))
        .unwrap_err();
    let KeeperError::Overlap {
        instance, scope, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((instance.as_str(), scope.as_str()), ("main", "uid"));
    world
        .keeper()
        .commit(&job("other", 8, OnFailure::Open))
        .unwrap();
}

#[test]
fn what_a_crashed_predecessor_left_is_adopted() {
    let world = World::new();
    let mut first = world.keeper();
    first.commit(&job("main", 7, OnFailure::Closed)).unwrap();
    world.kill_journal();
    drop(first);
    let mut second = world.keeper();
    second.commit(&job("main", 8, OnFailure::Closed)).unwrap();
    assert_eq!(world.journal().job.scope.of.uid[0].first(), 8);
    second.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn a_failed_adoption_leaves_the_predecessor_s_journal() {
    let world = World::new();
    let mut first = world.keeper();
    first.commit(&job("main", 7, OnFailure::Closed)).unwrap();
    world.kill_journal();
    let before = world.journal();
    world.host.fail_at([0]);
    world
        .keeper()
        .commit(&job("main", 8, OnFailure::Closed))
        .unwrap_err();
    assert_eq!(world.journal(), before);
}

#[test]
fn after_a_crash_open_leaves_nothing() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Open)).unwrap();
    keeper.engine_gone().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn after_a_crash_closed_leaves_the_guard_and_what_carries_it() {
    let world = World::new();
    let mut keeper = world.keeper();
    let job = job("main", 7, OnFailure::Closed);
    keeper.commit(&job).unwrap();
    keeper.engine_gone().unwrap();
    // There is no command whose processes could be waited for.
    keeper.outlast().unwrap();
    assert_eq!(world.journal().state, State::Crashed);
    let left: Vec<_> = world.host.state().ours.into_values().flatten().collect();
    let remains: Vec<_> = job.remains().into_iter().map(|p| p.object).collect();
    assert_eq!(left, remains);
}

#[test]
fn undoing_goes_on_past_a_failure_and_the_journal_says_what_stays() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Open)).unwrap();
    // Once together, and once by itself: the first domain to go refuses both times.
    world.host.fail_at([0, 1]);
    keeper.release().unwrap_err();
    let left: Vec<_> = world.host.state().ours.into_keys().map(|k| k.1).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(world.journal().failures.len(), 1);
    keeper.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn a_retired_job_is_undone_like_any_other() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Open)).unwrap();
    keeper.retire().unwrap();
    keeper.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn a_successor_adopts_the_job_of_a_dead_keeper_and_can_undo_it() {
    let world = World::new();
    let mut first = world.keeper();
    let job = job("main", 7, OnFailure::Open);
    first.commit(&job).unwrap();
    let before = world.host.state();
    let mut second = world.keeper();
    second.adopt(job, false, Vec::new()).unwrap();
    assert_eq!(world.host.state(), before);
    second.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn clean_removes_what_no_journal_names() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Closed)).unwrap();
    std::fs::remove_dir_all(world.dir().path()).unwrap();
    let cleaned = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert!(cleaned.failures.is_empty(), "{cleaned}");
    assert!(world.is_untouched());
    let mut domains: Vec<_> = cleaned.removed.iter().map(|f: &Found| f.domain).collect();
    domains.dedup();
    // A cgroup carries what is attached to it, so that it goes last.
    assert_eq!(domains, [Domain::Nft, Domain::Iptables, Domain::Cgroup]);
}

#[test]
fn clean_leaves_what_lives_and_says_so() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Open)).unwrap();
    let before = world.host.state();
    let cleaned = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert_eq!(world.host.state(), before);
    assert_eq!(cleaned.live[0].engine, Some(process::this().pid));
    assert!(cleaned.to_string().contains("left alone main"), "{cleaned}");
}

#[test]
fn clean_removes_a_crashed_instance_with_its_journal() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Closed)).unwrap();
    world.kill_journal();
    let cleaned = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert!(world.is_untouched());
    assert_eq!(cleaned.journals, [Instance::new("main").unwrap()]);
}

#[test]
fn clean_goes_on_past_a_failure_and_keeps_that_instance_s_journal() {
    let world = World::new();
    let mut keeper = world.keeper();
    keeper.commit(&job("main", 7, OnFailure::Closed)).unwrap();
    world.kill_journal();
    world.host.fail_at([0]);
    let cleaned = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert_eq!(cleaned.failures.len(), 1);
    assert!(cleaned.journals.is_empty());
    assert!(!cleaned.removed.is_empty());
    let again = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert!(again.failures.is_empty());
    assert!(world.is_untouched());
}

#[test]
fn clean_says_that_there_is_nothing() {
    let world = World::new();
    let cleaned = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert_eq!(cleaned.to_string(), "nothing of steer is left here\n");
}
