//! A command of an ordinary user, steered by a method that needs no privilege.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use lab::{Agent, Capture, Family, Live, Program, Server, Service, eventually};

use crate::site::Site;

/// A method that steers the command of `run` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Netns,
    Seccomp,
    Preload,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Netns, Self::Seccomp, Self::Preload];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Seccomp => "seccomp",
            Self::Preload => "preload",
        }
    }
}

/// Two hosts, an echo server on the second, and a witness of what leaves the first.
///
/// Whatever `steer` and its command write goes to a folder of the scene's own, and every process
/// of `steer` is one of the scene's own copy of it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) server: Server,
    pub(crate) at: SocketAddr,
    pub(crate) witness: Capture,
    own: PathBuf,
}

impl Scene {
    pub(crate) fn new(label: &str) -> Self {
        let site = Site::new(label);
        let server = site.srv.serve(7, Service::Echo);
        let (at, witness) = (site.srv.at(Family::V4, 7), site.witness());
        let own = site.path("own");
        let made = Program::new("mkdir").args(["-m", "700"]).arg(&own);
        made.without_privileges().run().expect_success();
        Self {
            site,
            server,
            at,
            witness,
            own,
        }
    }

    /// `steer` with these words.
    pub(crate) fn steer(&self, words: &[&str]) -> Program {
        let folders = ["STEER_RUN_DIR", "XDG_RUNTIME_DIR", "TMPDIR", "HOME"];
        let steer = self.site.unprivileged().args(words);
        let steer = steer.current_dir(self.site.path("."));
        folders
            .iter()
            .fold(steer, |steer, name| steer.env(name, &self.own))
    }

    /// `steer run` by a method, up to the words of the command.
    pub(crate) fn run(&self, method: Method) -> Program {
        self.steer(&["run", "-m", method.name(), "--log"])
            .arg(self.site.log())
            .arg("--")
    }

    /// `steer run` with a client as the command.
    pub(crate) fn agent(&self, method: Method) -> Agent {
        let mut words = Agent::command_line("agent");
        let copy = self.site.path("client");
        if !copy.exists() {
            // By another process: see `Site::unprivileged`.
            let cp = Program::new("cp").arg(&words[0]).arg(&copy);
            cp.run().expect_success();
        }
        words[0] = copy.display().to_string();
        Agent::start(self.run(method).args(words))
    }

    /// So many live connections of a client to the echo server.
    pub(crate) fn live(&self, agent: &Agent, count: usize) -> Live {
        let clients = (0..count).map(|_| agent.connect(self.at).expect("it is steered"));
        let live = Live::over(clients.collect());
        live.wait_round();
        live
    }

    /// The processes of `steer` with this name, or with any.
    pub(crate) fn processes(&self, name: Option<&str>) -> Vec<i32> {
        let copy = self.site.path("steer");
        let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
            let is_named = |name| comm.is_ok_and(|comm| comm.trim_end() == name);
            exe.is_ok_and(|exe| exe == copy) && name.is_none_or(is_named)
        };
        ids.filter(is_ours).collect()
    }

    /// The processes that know the scene's folder as theirs: the command's.
    pub(crate) fn commands(&self) -> Vec<i32> {
        let mark = format!("TMPDIR={}", self.own.display());
        let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables
                .split(|byte| *byte == 0)
                .any(|it| it == mark.as_bytes())
        };
        ids.filter(is_ours).collect()
    }

    /// Removes what a process has kept the engine from removing; whether there are rules of a
    /// crash, too, is not this user's to see.
    pub(crate) fn clean(&self) {
        let said = self.steer(&["clean"]).run();
        assert!(
            said.stderr.lines().all(|line| !line.contains("library")),
            "{said:#?}"
        );
    }

    /// Waits until no process, file, mount or rule of the steering is left.
    #[track_caller]
    pub(crate) fn wait_nothing_left(&self) {
        eventually("the processes of steer have ended", || {
            self.processes(None).is_empty().then_some(())
        });
        self.site.wait_untouched();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let own = self.own.display().to_string();
        assert!(!mounts.contains(&own), "{mounts}");
        let find = Program::new("find").arg(&self.own).args(["-type", "f"]);
        let files = find.run().expect_success();
        assert_eq!(files, "", "files are left");
    }

    /// What of the program itself left the host: connects and datagrams to the server.
    pub(crate) fn outside(&self) -> Vec<lab::Packet> {
        let to_server = |packet: &lab::Packet| packet.destination.ip() == self.at.ip();
        self.witness
            .packets(|packet| to_server(packet) && (packet.is_connect() || packet.is_udp()))
    }
}
