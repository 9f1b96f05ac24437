//! Engines that share a network namespace and nothing else, as the containers of a pod do.

use lab::{Proc, Program, Signal, Status, eventually};
use nix::sys::signal::kill;
use steer_core::address::{Family, IdRange};
use steer_core::intent::OnFailure;
use steer_core::keeper::Job;
use steer_core::object::{Leads, Object, PolicyRule, Route};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::symbol::{MarkRef, Slot, TableRef};

use crate::ROLE;
use crate::stage::{Stage, job};

/// The test's job with a slot's route and rule.
fn marking(name: &str, number: u8) -> Job {
    let slot = Slot::numbered(number);
    let table = TableRef::Fixed(slot.table());
    let mut job = job(name, OnFailure::Open);
    let id = 4242 + u32::from(number);
    job.scope.of.uid = vec![IdRange::new(id, id).unwrap()];
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
    job
}

/// This program in a container of its own: it sees no process and no journal of anybody.
fn contained(stage: &Stage, role: &str) -> Program {
    stage
        .app
        .program("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .env("STEER_RUN_DIR", stage.jobs.join("contained"))
}

/// An engine in the container, and what it said of its start.
fn start(stage: &Stage, job: &Job) -> (Proc, String) {
    let file = stage.jobs.join(format!("contained-{}", job.instance()));
    std::fs::write(&file, serde_json::to_vec(job).unwrap()).unwrap();
    let engine = contained(stage, "engine").arg(file).spawn();
    let said = engine.wait_line(|line| line == "engaged" || line.starts_with("error"));
    (engine, said)
}

fn end(engine: &Proc) {
    engine.write(b"release\n");
    engine.wait_line(|line| line == "released Clean");
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
}

fn rules(stage: &Stage) -> String {
    ["-4", "-6"]
        .map(|family| {
            let rules = stage.app.ip(&[family, "rule"]);
            let routes = stage.app.ip(&[family, "route", "show", "table", "all"]);
            let ours = |line: &&str| line.contains("1500") || line.contains("1501");
            let lines: Vec<&str> = rules.lines().chain(routes.lines()).filter(ours).collect();
            lines.join("\n")
        })
        .join("\n")
}

pub(crate) fn a_slot_and_a_name_of_a_container_that_is_not_seen_are_left_to_it() {
    let stage = Stage::new();
    let engine = stage.engaged(&marking("main", 0));
    let (before, tables) = (rules(&stage), stage.tables());
    for (job, wanted) in [
        (marking("other", 0), "the slot 0 is taken"),
        (marking("main", 1), "the instance main is in force already"),
    ] {
        let (_failed, said) = start(&stage, &job);
        assert!(said.contains(wanted), "{said}");
        assert_eq!(rules(&stage), before);
        assert_eq!(stage.tables(), tables);
    }
    let (other, said) = start(&stage, &marking("other", 1));
    assert_eq!(said, "engaged");
    let both = rules(&stage);
    assert_ne!(both, before);
    // Neither is taken for dead.
    let cleaned = contained(&stage, "clean").run().expect_success();
    for kept in ["lookup 15001, in force by", "steer_other, in force by"] {
        assert!(cleaned.contains(kept), "{cleaned}");
    }
    assert!(!cleaned.contains("removed"), "{cleaned}");
    assert_eq!(rules(&stage), both);
    end(&other);
    assert_eq!(rules(&stage), before);
    assert_eq!(stage.tables(), tables);
    end(&engine);
    assert!(!rules(&stage).contains("lookup"));
}

pub(crate) fn a_slot_outlives_the_keeper_with_the_engine_and_is_free_after_both() {
    let stage = Stage::new();
    let engine = stage.engaged(&marking("main", 0));
    let before = rules(&stage);
    kill(stage.keeper_of("main"), Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    let (_failed, said) = start(&stage, &marking("other", 0));
    assert!(said.contains("the slot 0 is taken"), "{said}");
    engine.write(b"restore\n");
    engine.wait_line(|line| line == "done");
    let (_failed, said) = start(&stage, &marking("other", 0));
    assert!(said.contains("the slot 0 is taken"), "{said}");
    assert_eq!(rules(&stage), before);
    let keeper = stage.keeper_of("main");
    kill(keeper, Signal::SIGSTOP).unwrap();
    engine.kill();
    kill(keeper, Signal::SIGKILL).unwrap();
    eventually("the keeper is gone", || {
        (!std::path::Path::new(&format!("/proc/{keeper}/stat")).exists()).then_some(())
    });
    assert_eq!(rules(&stage), before);
    let (other, said) = start(&stage, &marking("other", 0));
    assert_eq!(said, "engaged");
    assert_eq!(rules(&stage), before);
    // The dead one's next start finds its slot taken, and takes another without touching it.
    let again = stage.engaged(&marking("main", 1));
    for line in before.lines() {
        assert!(rules(&stage).contains(line), "{line}");
    }
    end(&again);
    assert_eq!(rules(&stage), before);
    end(&other);
    assert!(!rules(&stage).contains("lookup"));
}

pub(crate) fn a_stranger_can_keep_a_slot_from_us_and_no_name() {
    let stage = Stage::new();
    let script = "import socket, time\n\
                  held = [socket.socket(socket.AF_UNIX) for _ in range(2)]\n\
                  for s, name in zip(held, ['slot-0', 'name-main']):\n\
                  \x20   s.bind('\\0steer-' + name); s.listen()\n\
                  print('bound', flush=True); time.sleep(1000)";
    let stranger = stage
        .app
        .program("python3")
        .args(["-c", script])
        .user(4343)
        .spawn();
    stranger.wait_line(|line| line == "bound");
    let (_failed, said) = start(&stage, &marking("main", 0));
    assert!(said.contains("the slot 0 is taken"), "{said}");
    let (engine, said) = start(&stage, &marking("main", 1));
    assert_eq!(said, "engaged");
    end(&engine);
}
