//! An instance in force, and clients that it steers.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lab::{
    Agent, Client, Failure, Family, Host, Output, Proc, Program, Section, Signal, Snapshot,
    UdpClient,
};
use tempfile::TempDir;

use crate::binary::{for_everyone, steer};
use crate::datagrams::Datagrams;
use crate::mount::Mount;
use crate::name::instance_name;
use crate::record::{Record, Records};
use crate::refused::Refused;
use crate::setup::{Setup, User};
use crate::speech::Speech;
use crate::zone::Zone;

/// A `steer` in force on a host; on drop it is stopped, and the host is as it was.
#[derive(Debug)]
pub struct Rig {
    mount: Mount,
    host: Host,
    name: String,
    records: Records,
    running: Running,
    /// The proxy port, for clients that know of it.
    entrance: Option<SocketAddr>,
    /// The names of addresses, for clients that ask by name.
    zone: Option<Arc<Zone>>,
    /// Each host that may be changed, and how it was.
    before: Vec<(Host, Snapshot)>,
    folder: TempDir,
}

/// What was started.
#[derive(Debug)]
enum Running {
    /// `steer`, with clients beside it.
    Alone(Proc),
    /// `steer run`, with a client as its command.
    Around(Agent),
}

impl Rig {
    /// Puts an instance in force on a host and waits until it is.
    pub fn start(host: &Host, mount: Mount, setup: &Setup) -> Self {
        Self::start_over(host, &[], mount, setup)
    }

    /// As [`Self::start`], where other hosts' namespaces may be changed too.
    pub fn start_over(host: &Host, others: &[&Host], mount: Mount, setup: &Setup) -> Self {
        let name = instance_name();
        let folder = tempfile::tempdir().expect("a temporary directory");
        // Whoever runs `steer` writes the log.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).expect("our own");
        let all = [&[host], others].concat();
        let before = all
            .into_iter()
            .map(|host| (host.clone(), Snapshot::take(host).about(&name)));
        let before = before.collect();
        let config = folder.path().join("steer.yaml");
        fs::write(&config, setup.config(mount)).expect("a file in a new directory");
        let log = folder.path().join("log.jsonl");
        let verb = if mount.is_run() { "run" } else { "up" };
        let drops = mount.steers_a_command() && setup.user == User::Ordinary;
        let program = match drops {
            true => host.program(for_everyone(steer(), folder.path())),
            false => mount.steer(host),
        };
        let mut program = setup
            .variables
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value))
            .env("STEER_RUN_DIR", folder.path().join("run"))
            .args([verb, "-m", mount.method(), "--name", &name, "-c"])
            .arg(&config)
            .arg("--log")
            .arg(&log);
        if mount == Mount::Env {
            // A command that shows its variables and stays until its input ends.
            program = program.args(["--", "sh", "-c", "env && echo READY && cat"]);
        }
        let zone = (mount == Mount::Dns).then(|| Arc::new(Zone::serve(host)));
        let (running, entrance) = match mount {
            Mount::Env => {
                let proc = program.spawn();
                let entrance = proxy_variable(&started(&proc, "READY"));
                (Running::Alone(proc), Some(entrance))
            }
            _ if mount.steers_a_command() => {
                let mut words = Agent::command_line("agent");
                if drops {
                    program = program.without_privileges();
                    let copy = for_everyone(words[0].as_ref(), folder.path());
                    words[0] = copy.to_str().expect("a path of text").to_owned();
                }
                let command = program.arg("--").args(words);
                (Running::Around(Agent::start(command)), None)
            }
            _ => {
                let proc = program.spawn();
                started(&proc, "is in force");
                let of_clients = mount.speech() != Speech::Unaware;
                (Running::Alone(proc), of_clients.then_some(setup.listen))
            }
        };
        Self {
            mount,
            host: host.clone(),
            name,
            records: Records::of(log),
            running,
            entrance,
            zone,
            before,
            folder,
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is in force.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where the loopback of those is who are steered.
    pub fn inside(&self) -> Host {
        match self.command() {
            Some(agent) if self.mount == Mount::Netns => Host::of_process("inside", agent.pid()),
            _ => self.host.clone(),
        }
    }

    /// The records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The process that was started.
    pub fn proc(&self) -> &Proc {
        match &self.running {
            Running::Alone(proc) => proc,
            Running::Around(agent) => agent.proc(),
        }
    }

    /// The client that is the command, of methods that steer a command alone.
    fn command(&self) -> Option<&Agent> {
        match &self.running {
            Running::Alone(_) => None,
            Running::Around(agent) => Some(agent),
        }
    }

    /// The folder of the config, the log and the journal.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The proxy port, of methods that have one.
    pub fn entrance(&self) -> Option<SocketAddr> {
        self.entrance
    }

    /// A steered connection from the host.
    ///
    /// # Errors
    /// How it was refused, as far as that is known before the first byte.
    pub fn connect(&self, to: SocketAddr) -> Result<Client, Refused> {
        self.connect_by(to, |at| self.dial(at))
    }

    /// So many steered connections at once.
    ///
    /// Panics where one is refused.
    pub fn connect_many(&self, count: usize, to: SocketAddr) -> Vec<Client> {
        self.many(count, |index, dial| {
            let client = self.connect_by(to, dial);
            client.unwrap_or_else(|refused| panic!("connection {index}: {refused:?}"))
        })
    }

    /// Runs the closure so many times at once, with what connects as the programs that are steered
    /// do, and gives the values in order.
    pub fn many<R: Send>(
        &self,
        count: usize,
        run: impl Fn(usize, &dyn Fn(SocketAddr) -> Result<Client, Failure>) -> R + Sync,
    ) -> Vec<R> {
        self.host.many(count, |index| match self.command() {
            None => run(index, &Client::connect),
            Some(agent) => run(index, &|to| agent.connect(to)),
        })
    }

    /// A connection of a program that is steered, by its own words alone.
    ///
    /// # Errors
    /// How the connection failed, in the program's own terms.
    pub fn dial(&self, to: SocketAddr) -> Result<Client, Failure> {
        match self.command() {
            None => self.host.connect(to),
            Some(agent) => agent.connect(to),
        }
    }

    /// Runs a program that is steered to its end; it must be one of this rig's host.
    pub fn run(&self, program: Program) -> Output {
        match self.command() {
            None => program.run(),
            Some(agent) => agent.run(program),
        }
    }

    /// As [`Self::connect`], by a client that connects in its own way, such as an agent.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_by(
        &self,
        to: SocketAddr,
        connect: impl FnOnce(SocketAddr) -> Result<Client, Failure>,
    ) -> Result<Client, Refused> {
        let at = match &self.zone {
            Some(zone) => zone.entrance(to),
            None => self.entrance.unwrap_or(to),
        };
        let mut client = connect(at).map_err(Refused::Connect)?;
        self.mount.speech().ask(&mut client, to)?;
        Ok(client)
    }

    /// A connection to a name, through the proxy port.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_to_name(&self, name: &str, port: u16) -> Result<Client, Refused> {
        let entrance = self.entrance.expect("only proxy ports take names");
        let mut client = self.host.connect(entrance).map_err(Refused::Connect)?;
        self.mount.speech().ask_name(&mut client, name, port)?;
        Ok(client)
    }

    /// A socket of the host whose datagrams are steered.
    pub fn udp(&self, family: Family) -> Datagrams {
        match (self.entrance, &self.zone) {
            (Some(entrance), _) => Datagrams::associated(&self.host, entrance),
            (None, Some(zone)) => Datagrams::named(&self.host, zone),
            (None, None) => Datagrams::plain(self.udp_unaware(family)),
        }
    }

    /// A socket of a program that is steered and knows nothing of it.
    pub fn udp_unaware(&self, family: Family) -> UdpClient {
        match self.command() {
            None => self.host.udp(family),
            Some(agent) => agent.udp_client(family),
        }
    }

    /// A plain socket whose datagrams are steered, connected.
    ///
    /// # Errors
    /// Why the kernel would not connect it.
    pub fn udp_to(&self, to: SocketAddr) -> Result<UdpClient, Failure> {
        match self.command() {
            None => self.host.udp_to(to),
            Some(agent) => agent.udp_client_to(to),
        }
    }

    /// How a connection that must not come about is refused; panics when bytes come.
    #[track_caller]
    pub fn refusal(&self, to: SocketAddr) -> Refused {
        refusal_of(self.connect(to))
    }

    /// A client of the kind of this rig, for tests of a proxy port.
    pub fn speech(&self) -> Speech {
        self.mount.speech()
    }

    /// Stops the instance in order and gives all its records: flows of datagrams end with it.
    ///
    /// Without the questions of a client that asks by name.
    pub fn finish(self) -> Vec<Record> {
        self.end();
        let mut records = self.records.all();
        records.retain(|record| self.zone.is_none() || record["app"] != "dns");
        records
    }

    /// Stops the instance in order and says what it wrote to standard error.
    pub fn stop(self) -> String {
        // `Drop` does the work; the words are read after the end.
        self.end();
        self.proc().stderr()
    }

    fn end(&self) {
        let proc = self.proc();
        if !proc.is_running() {
            return;
        }
        match &self.running {
            Running::Around(agent) => agent.dismiss(),
            Running::Alone(proc) if self.mount.is_run() => proc.close_input(),
            Running::Alone(proc) => proc.signal(Signal::SIGTERM),
        }
        if proc.wait_within(PATIENCE).is_none() {
            proc.kill();
            complain(&format!("steer does not stop: {proc:#?}"));
        }
    }

    /// What is left of the instance.
    fn assert_nothing_left(&self) {
        let name = self.name.clone();
        let narrow = |snapshot: Snapshot| {
            snapshot
                .about(&name)
                .without_empty_legacy_tables()
                // The kernel's own, made with the first connection of a namespace.
                .keep(|section, line| section != Section::Sysctls || !line.contains("conntrack"))
        };
        for (host, before) in &self.before {
            Snapshot::wait_same(host, before, narrow);
        }
        let run = self.folder.path().join("run");
        let journals = fs::read_dir(&run).map_or(0, Iterator::count);
        assert_eq!(journals, 0, "journals are left in {}", run.display());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("steer said:\n{}", self.proc().stderr());
            eprintln!("its records:\n{:#?}", self.records.all());
        } else {
            self.assert_nothing_left();
        }
    }
}

/// How a connection that must not come about was refused; panics when bytes come.
#[track_caller]
pub fn refusal_of(connected: Result<Client, Refused>) -> Refused {
    match connected {
        Err(refused) => refused,
        Ok(mut client) => {
            let (bytes, end) = client.receive_all();
            assert!(
                bytes.is_empty(),
                "bytes came: {:?}",
                bytes.escape_ascii().to_string()
            );
            Refused::Ended(end)
        }
    }
}

/// Waits for a word that says that steering is in force, and gives all that was written to stdout.
#[track_caller]
fn started(proc: &Proc, word: &str) -> String {
    let said = lab::eventually("steer comes into force or ends", || {
        let said = proc.stdout() + &proc.stderr();
        (said.contains(word) || !proc.is_running()).then_some(said)
    });
    assert!(said.contains(word), "steer ended: {proc:#?}");
    proc.stdout()
}

/// The address in the variable `http_proxy`.
fn proxy_variable(environment: &str) -> SocketAddr {
    let value = environment
        .lines()
        .find_map(|line| line.strip_prefix("http_proxy=http://"))
        .unwrap_or_else(|| panic!("no http_proxy: {environment}"));
    // Behind the login, where there is one.
    let value = value.rsplit('@').next().unwrap_or(value);
    value
        .trim_end_matches('/')
        .parse()
        .unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn complain(text: &str) {
    if std::thread::panicking() {
        eprintln!("{text}");
    } else {
        panic!("{text}");
    }
}

/// How long an orderly end may take: the command's own patience with connections, and room.
const PATIENCE: Duration = Duration::from_secs(30);
