//! A program's host and a server's, joined by one link, with `steer` to run in the first.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use lab::{
    Agent, Capture, Cgroup, Client, Failure, Hierarchy, Host, Interface, Live, Program, Section,
    Signal, Snapshot, eventually,
};
use serde_json::Value;
use steer_tests::{Gateway, Records, Stage, instance_name, steer};

mod means;

pub(crate) use means::Means;

/// Two hosts, a name for a steering, and how the first host was before it.
///
/// Machine-wide state is compared by the steering's name, since other tests run beside this one.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where the program and `steer` run.
    pub(crate) app: Host,
    /// Where the servers are.
    pub(crate) srv: Host,
    /// The steering's name.
    pub(crate) name: String,
    dir: tempfile::TempDir,
    apart: Option<Cgroup>,
    /// Whether `steer` takes a hierarchy of the test's own for the machine's.
    hooked: bool,
    /// The client of a whole host, where it has to be apart as well.
    client: Option<Agent>,
    before: Snapshot,
}

/// What is left when the engine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Open,
    Closed,
}

impl Site {
    /// A site whose steerings show in the machine's own run directory.
    pub(crate) fn new(label: &str) -> Self {
        Self::with(label, None)
    }

    /// A site for the steering of a whole host: what this process connects to is meant, too.
    pub(crate) fn of_host(means: Means, label: &str) -> Self {
        if means == Means::Ebpf {
            Hierarchy::own();
        }
        let mut site = Self::new(label);
        site.hooked = means == Means::Ebpf;
        site
    }

    /// The same, apart: see [`Self::apart`], [`Self::connect`] and [`Self::live`].
    pub(crate) fn of_host_apart(means: Means, label: &str) -> Self {
        let mut site = Self::apart(label);
        site.hooked = means == Means::Ebpf;
        if let (true, Some(cgroup)) = (site.hooked, &site.apart) {
            let agent = site.app.program("env").args(Agent::command_line("agent"));
            site.client = Some(Agent::start(agent.cgroup(cgroup)));
        }
        site
    }

    /// A site whose `steer` sees no cgroup and no journal but its own.
    ///
    /// For `steer clean`, which looks at the whole machine: other tests have things lying about.
    pub(crate) fn apart(label: &str) -> Self {
        Self::with(label, Some(Cgroup::new(label)))
    }

    /// A site whose `steer` is on a router, apart from the others, with the client behind it and
    /// the router's interface to the servers.
    pub(crate) fn routing(label: &str) -> (Self, Host, Interface) {
        let Gateway {
            app,
            gate,
            srv,
            outer,
            ..
        } = Gateway::new(label);
        (Self::on(gate, srv, Some(Cgroup::new(label))), app, outer)
    }

    /// A site whose `steer` is on a host without links, apart from the others, with the host that
    /// is to be steered from there.
    pub(crate) fn afar(label: &str) -> (Self, Host) {
        let Stage { lab, app, srv } = Stage::new(label);
        (
            Self::on(lab.host("home"), srv, Some(Cgroup::new(label))),
            app,
        )
    }

    fn with(label: &str, apart: Option<Cgroup>) -> Self {
        let Stage { app, srv, .. } = Stage::new(label);
        Self::on(app, srv, apart)
    }

    fn on(app: Host, srv: Host, apart: Option<Cgroup>) -> Self {
        let before = Snapshot::take(&app);
        let dir = tempfile::tempdir().expect("a temporary directory");
        // As in /tmp: nobody can put a folder in the place of another's.
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).expect("our directory");
        Self {
            app,
            srv,
            name: instance_name(),
            dir,
            apart,
            hooked: false,
            client: None,
            before,
        }
    }

    /// Connects from the host, as somebody whom a steering of all of it means.
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<Client, Failure> {
        match &self.client {
            None => self.app.connect(to),
            Some(agent) => agent.connect(to),
        }
    }

    /// So many live connections, likewise.
    pub(crate) fn live(&self, to: SocketAddr, count: usize) -> Live {
        let connect = |_| self.connect(to).expect("the server listens");
        Live::over((0..count).map(connect).collect())
    }

    /// `steer` in the program's host, without arguments yet.
    pub(crate) fn steer(&self) -> Program {
        match &self.apart {
            None if self.hooked => self.app.program(steer()).in_hierarchy(),
            None => self.app.program(steer()),
            Some(cgroup) if self.hooked => {
                let inside = self.app.program(steer()).cgroup(cgroup).in_hierarchy();
                inside.env("STEER_RUN_DIR", self.run_dir())
            }
            Some(cgroup) => {
                let inside = self.app.program("unshare").arg("--cgroup").arg(steer());
                inside.cgroup(cgroup).env("STEER_RUN_DIR", self.run_dir())
            }
        }
    }

    /// `steer` in the program's host as a user without privileges.
    pub(crate) fn unprivileged(&self) -> Program {
        self.app
            .program(self.unprivileged_copy())
            .without_privileges()
    }

    /// The command where a user without privileges reaches it.
    pub(crate) fn unprivileged_copy(&self) -> PathBuf {
        // The folder of the build may be closed to others.
        let copy = self.path("steer");
        if !copy.exists() {
            // By another process: a descriptor for writing here would be inherited by programs
            // that other tests start meanwhile, and the copy be busy.
            let cp = Program::new("cp").arg(steer()).arg(&copy);
            cp.run().expect_success();
        }
        copy
    }

    /// `steer run`, up to the words of the command.
    pub(crate) fn run(&self, means: Means, on_failure: OnFailure) -> Program {
        self.steer()
            .args(["run", "--name", &self.name])
            .args(means.words())
            .args(["--on-failure", &on_failure.to_string()])
            .arg("--log")
            .arg(self.log())
            .arg("--")
    }

    /// `steer run` with a client as the command, that connects as it is told.
    pub(crate) fn agent(&self, means: Means, on_failure: OnFailure) -> Agent {
        Agent::start(
            self.run(means, on_failure)
                .args(Agent::command_line("agent")),
        )
    }

    /// `steer up` with this config; the file gets the steering's name.
    pub(crate) fn up(&self, config: &str) -> Program {
        let text = format!("name: {}\n{config}", self.name);
        let path = self.write("config.yaml", &text);
        self.steer().args(["up", "-c"]).arg(path)
    }

    /// Writes a file that every user may read, and gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("our directory can be written");
        path
    }

    /// A path in a directory of the site's own, which every user may write.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the records go.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("records.json")
    }

    /// The records of [`Self::log`].
    pub(crate) fn records(&self) -> Records {
        Records::of(self.log())
    }

    /// Where the journals are.
    pub(crate) fn run_dir(&self) -> PathBuf {
        match self.apart {
            None => "/run/steer".into(),
            Some(_) => self.path("run"),
        }
    }

    fn journal(&self) -> PathBuf {
        self.run_dir().join(format!("{}.json", self.name))
    }

    /// The folder of the cgroup that `run` makes for its command, below the test's own.
    pub(crate) fn command_cgroup(&self) -> Option<PathBuf> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let root = lab::cgroup2_mount()?;
        Some(root.join(own).join(format!("steer-{}", self.name)))
    }

    /// The id that the journal names as `keeper` or `engine`, once there is a journal.
    pub(crate) fn process(&self, role: &str) -> i32 {
        let path = self.journal();
        eventually("the journal names the process", || {
            let text = fs::read_to_string(&path).ok()?;
            let journal: Value = serde_json::from_str(&text).ok()?;
            i32::try_from(journal[role]["pid"].as_i64()?).ok()
        })
    }

    /// What of the host and, about the steering, of the machine there is.
    pub(crate) fn state(&self) -> Snapshot {
        self.narrow(Snapshot::take(&self.app))
    }

    /// How it was before.
    pub(crate) fn before(&self) -> Snapshot {
        self.narrow(self.before.clone())
    }

    /// Asserts that everything is as it was before.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        // The kernel lets go of programs and maps some time after they were detached.
        Snapshot::wait_same(&self.app, &self.before(), |snapshot| {
            let snapshot = self.narrow(snapshot);
            snapshot.keep(|section, _| section == Section::Bpf)
        });
        self.state().assert_same_as(&self.before());
        assert!(self.apart.is_none() || !self.run_dir().exists());
    }

    /// Waits until everything is as it was before: what another process does on its own.
    #[track_caller]
    pub(crate) fn wait_untouched(&self) {
        Snapshot::wait_same(&self.app, &self.before(), |snapshot| self.narrow(snapshot));
        if self.apart.is_some() {
            eventually("the run directory is gone", || {
                (!self.run_dir().exists()).then_some(())
            });
        }
    }

    /// The rules and programs of all kinds on the host, those of routing too, line by line, in an order that says nothing.
    pub(crate) fn rules(&self) -> Vec<String> {
        let state = self.state();
        let sections = [
            Section::Nft,
            Section::Iptables,
            Section::Ip6tables,
            Section::IptablesLegacy,
            Section::Ip6tablesLegacy,
            Section::Rules,
            Section::Routes,
            Section::Bpf,
        ];
        let mut lines = sections
            .map(|section| state.lines(section).to_vec())
            .concat();
        // The kernel's own rules and routes are of other protocols.
        let routing = |line: &String| line.starts_with("-4 ") || line.starts_with("-6 ");
        lines.retain(|line| !routing(line) || line.contains("proto 94"));
        lines.sort();
        lines
    }

    fn narrow(&self, snapshot: Snapshot) -> Snapshot {
        // Another test's name may begin like this one.
        let about = |line: &str| {
            let mut rest = line.split(self.name.as_str()).skip(1);
            rest.any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let snapshot = snapshot.without_empty_legacy_tables();
        snapshot.keep(|section, line| !section.is_machine_wide() || about(line))
    }

    /// A witness on the program's uplink.
    pub(crate) fn witness(&self) -> Capture {
        Capture::start(&self.app, &self.app.uplink().name)
    }
}

impl Drop for Site {
    /// Whatever a failed test leaves in the machine is removed: its hosts take the keeper along,
    /// which would have done it.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let journal = self.journal();
        let ids = fs::read_to_string(&journal)
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .map(|it| [&it["engine"]["pid"], &it["keeper"]["pid"]].map(Value::to_string));
        if let Some(ids) = ids {
            // Those that have ended are no matter.
            let _ = Program::new("kill").arg("-9").args(ids).run();
        }
        let _ = fs::remove_file(journal);
        let _ = fs::remove_dir(self.run_dir());
        if let Some(cgroup) = self.command_cgroup() {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            let gone = || fs::remove_dir(&cgroup).is_ok() || !cgroup.exists();
            let end = Instant::now() + lab::DEADLINE;
            while !gone() && Instant::now() < end {
                std::thread::yield_now();
            }
        }
    }
}

/// The user without privileges.
pub(crate) const NOBODY: u32 = 65_534;

/// Whether these bytes come back from an echo server.
pub(crate) fn echoes(client: &mut Client, bytes: &[u8]) -> bool {
    client.send(bytes).is_ok() && client.receive(bytes.len()).as_deref() == Ok(bytes)
}

/// Asserts that a connect failed at once, by a refusal and not for want of an answer.
#[track_caller]
pub(crate) fn assert_refused(connected: Result<Client, Failure>) {
    match connected {
        Err(Failure::Refused | Failure::Unreachable) => {}
        other => panic!("not refused: {other:?}"),
    }
}

/// How many packets with a source among these left through the witness's interface.
pub(crate) fn left_by(witness: &Capture, sources: &[SocketAddr]) -> usize {
    witness.packets(|p| sources.contains(&p.source)).len()
}

/// Kills processes by their ids with SIGKILL, in one call.
pub(crate) fn kill(ids: &[i32]) {
    let kill = Program::new("kill").arg("-9");
    let kill = kill.args(ids.iter().map(ToString::to_string));
    kill.run().expect_success();
}

/// Sends a signal to one process.
pub(crate) fn kill_with(id: i32, signal: Signal) {
    let words = [format!("-{}", signal as i32), id.to_string()];
    Program::new("kill").args(words).run().expect_success();
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Closed => "closed",
        })
    }
}
