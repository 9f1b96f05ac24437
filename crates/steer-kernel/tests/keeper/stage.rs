//! An engine's surroundings: hosts, a run directory, and jobs.

use std::path::{Path, PathBuf};

use lab::{Cgroup, Family, Host, Lab, Proc, Program, eventually};
use nix::unistd::Pid;
use steer_core::address::IdRange;
use steer_core::instance::Instance;
use steer_core::intent::{OnFailure, Scope, Selector};
use steer_core::journal::{Journal, State};
use steer_core::keeper::Job;
use steer_core::method::Method;
use steer_core::object::Object;
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::{Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{Bindings, CgroupRef};

use crate::{PORT, ROLE, steering};

/// A host with an engine's surroundings.
pub(crate) struct Stage {
    pub(crate) app: Host,
    pub(crate) srv: Host,
    _files: tempfile::TempDir,
    pub(crate) run: PathBuf,
    pub(crate) jobs: PathBuf,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let lab = Lab::new("keeper");
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        let files = tempfile::tempdir().unwrap();
        Self {
            app,
            srv,
            run: files.path().join("run"),
            jobs: files.path().to_owned(),
            _files: files,
        }
    }

    pub(crate) fn role(&self, role: &str) -> Program {
        self.app
            .program(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env("STEER_RUN_DIR", &self.run)
    }

    /// An engine that is told to put the job in force.
    pub(crate) fn start(&self, job: &Job) -> Proc {
        self.engine(job).spawn()
    }

    /// As [`Stage::start`], once it is given a line after it has said that it is started.
    pub(crate) fn start_slowly(&self, job: &Job) -> Proc {
        self.engine(job).arg("slowly").spawn()
    }

    fn engine(&self, job: &Job) -> Program {
        let file = self.jobs.join(format!("{}.job", job.instance()));
        std::fs::write(&file, serde_json::to_vec(job).unwrap()).unwrap();
        self.role("engine").arg(file)
    }

    /// An engine with the job in force.
    pub(crate) fn engaged(&self, job: &Job) -> Proc {
        let engine = self.start(job);
        engine.wait_line(|line| line == "engaged" || line.starts_with("error"));
        assert!(engine.stdout().contains("engaged"), "{}", engine.stdout());
        engine
    }

    pub(crate) fn tables(&self) -> Vec<String> {
        let text = self
            .app
            .program("nft")
            .args(["list", "tables"])
            .run()
            .expect_success();
        text.lines()
            .map(|line| line.trim_start_matches("table inet ").to_owned())
            .collect()
    }

    /// The ruleset, without the name that `nft` finds for a table's owner.
    pub(crate) fn rules(&self) -> String {
        let text = steering::list(&self.app);
        let lines = text
            .lines()
            .map(|line| line.split(" # ").next().unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn wait_tables(&self, wanted: &[&str]) {
        eventually(&format!("the tables {wanted:?}"), || {
            (self.tables() == wanted).then_some(())
        });
    }

    pub(crate) fn journal(&self, name: &str) -> Option<Journal> {
        let text = std::fs::read(self.run.join(format!("{name}.json"))).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    pub(crate) fn wait_state(&self, name: &str, state: State) {
        eventually(&format!("the state {state:?}"), || {
            self.journal(name).filter(|j| j.state == state).map(drop)
        });
    }

    pub(crate) fn keeper_of(&self, name: &str) -> Pid {
        Pid::from_raw(self.journal(name).unwrap().keeper.pid.try_into().unwrap())
    }

    /// Nothing of ours is left: no table, no journal, no directory, no keeper.
    pub(crate) fn wait_clean(&self, keeper: Pid) {
        self.wait_tables(&[]);
        eventually("the run directory is gone", || {
            (!self.run.exists()).then_some(())
        });
        eventually("the keeper is gone", || {
            (!Path::new(&format!("/proc/{keeper}/stat")).exists()).then_some(())
        });
    }

    /// A steered connection of the user 4242 to the server, which says how it ends.
    pub(crate) fn client(&self) -> Proc {
        let at = self.srv.at(Family::V4, 80);
        let script = format!(
            "import socket\n\
             s = socket.create_connection(('{}', {}))\n\
             print('connected', flush=True)\n\
             try: print('read', s.recv(9), flush=True)\n\
             except OSError as e: print(type(e).__name__, flush=True)",
            at.ip(),
            at.port(),
        );
        self.app
            .program("python3")
            .args(["-c", &script])
            .user(4242)
            .spawn()
    }
}

pub(crate) fn job(name: &str, on_failure: OnFailure) -> Job {
    let uid = || Test::Uid(vec![IdRange::new(4242, 4242).unwrap()]);
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object: Object::Nft(object),
    };
    Job {
        method: Method::Redirect,
        bindings: Bindings::new(Instance::new(name).unwrap()),
        on_failure,
        scope: Scope {
            of: Selector {
                uid: vec![IdRange::new(4242, 4242).unwrap()],
                ..Selector::default()
            },
            ..Scope::default()
        },
        objects: vec![
            planned(Life::Guard, guard([uid()])),
            planned(Life::Steer, steering::redirect(PORT, [uid()])),
        ],
    }
}

/// A job for a command in a cgroup below `parent`.
pub(crate) fn command_job(name: &str, on_failure: OnFailure, parent: &Cgroup) -> Job {
    let path = format!("{}/steer-{name}", parent.name());
    let cgroup = CgroupRef::Path(path.clone());
    let inside = || Test::Cgroup(cgroup.clone());
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object,
    };
    let mut bindings = Bindings::new(Instance::new(name).unwrap());
    bindings.command_cgroup = Some(path);
    Job {
        bindings,
        scope: Scope::command(),
        objects: vec![
            planned(Life::Support, Object::Cgroup(cgroup.clone())),
            planned(Life::Guard, Object::Nft(guard([inside()]))),
            planned(
                Life::Steer,
                Object::Nft(steering::redirect(PORT, [inside()])),
            ),
        ],
        ..job(name, on_failure)
    }
}

pub(crate) fn guard(tests: impl IntoIterator<Item = Test>) -> Ruleset {
    let mut ruleset = steering::guard(&steer_core::address::Family::ALL, Verdict::Prohibit);
    let mut refuse = vec![Test::Opening];
    refuse.extend(tests);
    ruleset.chains[0].rules = vec![
        Rule::new([Test::Rewritten], Verdict::Return, "steered already"),
        Rule::new(refuse, Verdict::Prohibit, "a test refuses"),
    ];
    assert_eq!(ruleset.role, Role::Guard);
    ruleset
}

/// A process of the command that outlives it.
pub(crate) fn leftover(parent: &Cgroup, name: &str) -> Proc {
    let procs = parent.path().join(format!("steer-{name}/cgroup.procs"));
    let proc = Program::new("sh")
        .args([
            "-c",
            &format!("echo 0 > {}; echo in; exec sleep 1000", procs.display()),
        ])
        .spawn();
    proc.wait_line(|line| line == "in");
    proc
}
