//! Jobs in a namespace that is not the engine's, whose path may lead elsewhere one day.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use lab::{Host, Lab, Proc, Signal, Snapshot, Status, eventually};
use nix::sys::signal::kill;
use steer_core::address::Family;
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::intent::OnFailure;
use steer_core::keeper::Job;
use steer_core::object::{Leads, Object, PolicyRule, Route};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::Test;
use steer_core::symbol::{MarkRef, Slot, TableRef};
use steer_kernel::nft::NftDriver;

use crate::stage::{Stage, guard, job};

/// The test's job in another namespace, with a route and a rule besides.
fn inside(path: &str, on_failure: OnFailure) -> Job {
    let slot = Slot::numbered(0);
    let table = TableRef::Fixed(slot.table());
    let mut job = job("main", on_failure);
    job.bindings.slot = Some(slot);
    for family in Family::ALL {
        let rule = PolicyRule {
            family,
            mark: MarkRef::Fixed(slot.mark),
            interface: Some("lo".to_owned()),
            table,
        };
        for object in [
            Object::Route(Route {
                family,
                net: None,
                table,
                to: Leads::Here,
            }),
            Object::Rule(rule),
        ] {
            job.objects.push(Planned {
                netns: Netns::Here,
                life: Life::Support,
                object,
            });
        }
    }
    job.objects.sort_by_key(|planned| planned.life);
    for planned in &mut job.objects {
        planned.netns = Netns::Path(path.to_owned());
    }
    job
}

/// A joined namespace, as it was, and a path that leads to it.
struct Pod {
    stage: Stage,
    host: Host,
    before: Snapshot,
    path: PathBuf,
}

impl Pod {
    fn new() -> Self {
        let stage = Stage::new();
        let host = Lab::new("pod").host("pod");
        let before = Snapshot::take(&host).of_host_only();
        let path = stage.jobs.join("net");
        let pod = Self {
            stage,
            host,
            before,
            path,
        };
        pod.point(&pod.host);
        pod
    }

    fn point(&self, host: &Host) {
        let _ = fs::remove_file(&self.path);
        symlink(host.namespace_path(), &self.path).unwrap();
    }

    fn engaged(&self, on_failure: OnFailure) -> Proc {
        let path = self.path.to_str().unwrap();
        let engine = self.stage.engaged(&inside(path, on_failure));
        assert!(self.rules().contains("lookup 15001"));
        assert!(Snapshot::take(&self.host).of_host_only() != self.before);
        engine
    }

    fn rules(&self) -> String {
        self.host.ip(&["rule"])
    }

    fn wait_as_before(&self) {
        Snapshot::wait_same(&self.host, &self.before, Snapshot::of_host_only);
    }
}

/// Engine and keeper end at once.
fn kill_both(stage: &Stage, engine: &Proc) {
    let keeper = stage.keeper_of("main");
    kill(keeper, Signal::SIGSTOP).unwrap();
    engine.kill();
    kill(keeper, Signal::SIGKILL).unwrap();
    eventually("the keeper is gone", || {
        (!PathBuf::from(format!("/proc/{keeper}/stat")).exists()).then_some(())
    });
}

fn release(engine: &Proc) {
    engine.write(b"release\n");
    engine.wait_line(|line| line == "released Clean" || line.starts_with("error"));
    assert!(
        engine.stdout().contains("released Clean"),
        "{}",
        engine.stdout()
    );
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
}

/// Puts a guard of the same name in a namespace that has nothing to do with the job.
fn bystander(host: &Host) -> Snapshot {
    let rules = Object::Nft(guard([Test::Opening]));
    NftDriver::new()
        .set(&Change {
            instance: &Instance::new("main").unwrap(),
            netns: &Netns::Path(host.namespace_path().display().to_string()),
            from: &[],
            to: &[rules],
        })
        .unwrap();
    Snapshot::take(host).of_host_only()
}

pub(crate) fn a_release_works_after_the_last_process_of_the_namespace_has_ended() {
    let pod = Pod::new();
    let last = pod.host.program("sleep").arg("1000").spawn();
    let path = format!("/proc/{}/ns/net", last.pid());
    let engine = pod.stage.engaged(&inside(&path, OnFailure::Closed));
    assert!(pod.rules().contains("lookup 15001"));
    last.kill();
    last.wait();
    assert!(!PathBuf::from(&path).exists());
    release(&engine);
    pod.wait_as_before();
}

pub(crate) fn a_keeper_works_in_the_namespace_that_its_engine_has_opened() {
    let pod = Pod::new();
    let other = Lab::new("pod").host("other");
    let untouched = Snapshot::take(&other).of_host_only();
    let job = inside(pod.path.to_str().unwrap(), OnFailure::Open);
    let engine = pod.stage.start_slowly(&job);
    engine.wait_line(|line| line == "started");
    // As when the pod is started again between the opening of the listeners and the rules.
    pod.point(&other);
    engine.write(b"go\n");
    engine.wait_line(|line| line == "engaged" || line.starts_with("error"));
    assert!(pod.rules().contains("lookup 15001"), "{}", engine.stdout());
    Snapshot::take(&other)
        .of_host_only()
        .assert_same_as(&untouched);
    release(&engine);
    pod.wait_as_before();
}

pub(crate) fn a_successor_works_in_the_namespace_that_the_path_led_to_at_first() {
    let pod = Pod::new();
    let engine = pod.engaged(OnFailure::Open);
    let other = Lab::new("pod").host("other");
    let others = bystander(&other);
    pod.point(&other);
    kill(pod.stage.keeper_of("main"), Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    engine.write(b"restore\n");
    engine.wait_line(|line| line == "done");
    let keeper = pod.stage.keeper_of("main");
    engine.kill();
    pod.stage.wait_clean(keeper);
    pod.wait_as_before();
    Snapshot::take(&other)
        .of_host_only()
        .assert_same_as(&others);
}

pub(crate) fn what_both_killed_leave_in_a_namespace_does_nothing_and_clean_removes_it_there() {
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let pod = Pod::new();
        let engine = pod.engaged(on_failure);
        kill_both(&pod.stage, &engine);
        // The path leads elsewhere by the time of the cleaning.
        let other = Lab::new("pod").host("other");
        let others = bystander(&other);
        pod.point(&other);
        eventually("the table is gone with its owners", || {
            let tables = pod.host.program("nft").args(["list", "tables"]).run();
            (!tables.expect_success().contains("steer_main\n")).then_some(())
        });
        // Rule and route are there, and nothing is marked any more.
        assert!(pod.rules().contains("lookup 15001"));
        let server = pod.host.serve(80, lab::Service::Echo);
        let mut client = pod.host.connect(pod.host.at(lab::Family::V4, 80)).unwrap();
        client.send(b"direct").unwrap();
        assert_eq!(client.receive(6).unwrap(), b"direct");
        drop((client, server));

        let cleaned = pod.stage.role("clean").run().expect_success();
        assert!(
            cleaned.contains("removed rule ipv6 priority 1500"),
            "{cleaned}"
        );
        pod.wait_as_before();
        Snapshot::take(&other)
            .of_host_only()
            .assert_same_as(&others);
        assert!(!pod.stage.run.exists());
    }
}

pub(crate) fn what_both_killed_left_is_taken_over_by_the_next_start() {
    let pod = Pod::new();
    let engine = pod.engaged(OnFailure::Closed);
    kill_both(&pod.stage, &engine);
    // It wants less, and elsewhere.
    let other = Lab::new("pod").host("other");
    let before = Snapshot::take(&other).of_host_only();
    pod.point(&other);
    let path = pod.path.to_str().unwrap();
    let mut next = inside(path, OnFailure::Closed);
    next.objects.retain(|p| p.life != Life::Guard);
    let engine = pod.stage.engaged(&next);
    pod.wait_as_before();
    assert!(other.ip(&["rule"]).contains("lookup 15001"));
    release(&engine);
    Snapshot::wait_same(&other, &before, Snapshot::of_host_only);
}

pub(crate) fn a_namespace_that_is_gone_has_taken_everything_along() {
    let Pod {
        stage, host, path, ..
    } = Pod::new();
    let job = inside(path.to_str().unwrap(), OnFailure::Closed);
    let engine = stage.engaged(&job);
    kill_both(&stage, &engine);
    drop(host);
    // The next start of the name needs nothing of it.
    let here = crate::stage::job("main", OnFailure::Open);
    let engine = stage.engaged(&here);
    assert_eq!(stage.tables().len(), 2);
    kill_both(&stage, &engine);
    // And cleaning does not mind a journal about it.
    let mut journal = stage.journal("main").unwrap();
    journal.job = job;
    journal
        .namespaces
        .insert(path.display().to_string(), "4:1".to_owned());
    let file = stage.run.join("main.json");
    fs::write(file, serde_json::to_vec(&journal).unwrap()).unwrap();
    let cleaned = stage.role("clean").run().expect_success();
    assert!(!stage.run.exists(), "{cleaned}");
    stage.wait_tables(&[]);
}

pub(crate) fn one_of_the_same_name_in_another_namespace_does_not_keep_what_is_dead() {
    let (living, dead) = (Stage::new(), Stage::new());
    let _engine = living.engaged(&job("main", OnFailure::Closed));
    let stands = living.rules();
    let engine = dead.engaged(&job("main", OnFailure::Closed));
    kill_both(&dead, &engine);
    let cleaned = dead.role("clean").run().expect_success();
    assert!(cleaned.contains("steer_main_guard"), "{cleaned}");
    assert!(!cleaned.contains("left alone"), "{cleaned}");
    dead.wait_tables(&[]);
    assert_eq!(living.rules(), stands);
}
