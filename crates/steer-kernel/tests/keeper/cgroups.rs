//! Cgroups of a scope that go and come back, as those of a service do when it is restarted.

use std::fs;

use lab::{Cgroup, Service, eventually};
use steer_core::intent::OnFailure;
use steer_core::journal::State;
use steer_core::keeper::Job;
use steer_core::object::{IptablesVariant, Object};
use steer_core::ruleset::{Ruleset, Test};
use steer_core::symbol::CgroupRef;

use crate::stage::{Stage, guard, job};
use crate::{PORT, steering};

/// What makes a rule by one of the backends.
type Backend = fn(Ruleset) -> Object;

const BACKENDS: [Backend; 2] = [Object::Nft, |rules| {
    Object::Iptables(rules, IptablesVariant::Nft)
}];

pub(crate) fn a_cgroup_that_is_made_again_is_steered_and_guarded_again() {
    for backend in BACKENDS {
        let (stage, slice) = (Stage::new(), Cgroup::new("again"));
        let _server = stage.srv.serve(80, Service::Echo);
        let unit = slice.path().join("deep/unit");
        fs::create_dir_all(&unit).unwrap();
        let engine = stage.engaged(&of_cgroup(&slice, OnFailure::Closed, backend));
        let accepted = || {
            let told = engine.stdout();
            told.lines().filter(|line| *line == "accepted").count()
        };
        assert_eq!(connect(&stage, &slice), "connected");
        eventually("the engine has it", || (accepted() == 1).then_some(()));
        for _ in 0..2 {
            remove(&slice);
            fs::create_dir_all(&unit).unwrap();
            let before = accepted();
            eventually("the cgroup is steered again", || {
                connect(&stage, &slice);
                (accepted() > before).then_some(())
            });
        }
        engine.kill();
        stage.wait_state("main", State::Crashed);
        assert_eq!(connect(&stage, &slice), "refused");
        stage.role("clean").run();
    }
}

pub(crate) fn a_job_is_undone_while_its_cgroup_does_not_exist() {
    for backend in BACKENDS {
        for orderly in [true, false] {
            let (stage, slice) = (Stage::new(), Cgroup::new("gone"));
            let before = save(&stage);
            fs::create_dir_all(slice.path().join("deep/unit")).unwrap();
            let engine = stage.engaged(&of_cgroup(&slice, OnFailure::Open, backend));
            let keeper = stage.keeper_of("main");
            remove(&slice);
            match orderly {
                true => {
                    engine.write(b"retire\nrelease\n");
                    engine.wait_line(|line| line == "released Clean");
                    engine.close_input();
                    engine.wait()
                }
                false => engine.kill(),
            };
            stage.wait_clean(keeper);
            assert_eq!(save(&stage), before);
        }
    }
}

fn of_cgroup(slice: &Cgroup, on_failure: OnFailure, backend: Backend) -> Job {
    let path = format!("{}/deep/unit", slice.name());
    let inside = || Test::Cgroup(CgroupRef::Path(path.clone()));
    let mut job = job("main", on_failure);
    let rules = [guard([inside()]), steering::redirect(PORT, [inside()])];
    for (planned, rules) in job.objects.iter_mut().zip(rules) {
        planned.object = backend(rules);
    }
    job
}

fn remove(slice: &Cgroup) {
    for below in ["deep/unit", "deep"] {
        // The kernel lets go of processes a little after they have been waited for.
        eventually("the cgroup is removed", || {
            fs::remove_dir(slice.path().join(below)).ok()
        });
    }
}

/// What becomes of a connection to the server from the cgroup.
fn connect(stage: &Stage, slice: &Cgroup) -> String {
    let procs = slice.path().join("deep/unit/cgroup.procs");
    let at = stage.srv.at(lab::Family::V4, 80);
    let script = format!(
        "import socket\n\
         open('{}', 'w').write('0')\n\
         try: socket.create_connection(('{}', {})); print('connected')\n\
         except OSError: print('refused')",
        procs.display(),
        at.ip(),
        at.port(),
    );
    let client = stage.app.program("python3").args(["-c", &script]);
    client.run().expect_success().trim().to_owned()
}

fn save(stage: &Stage) -> String {
    let tables = stage.app.program("nft").args(["list", "ruleset"]);
    tables.run().expect_success()
}
