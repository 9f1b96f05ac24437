//! The keeper that does the work, in whichever process it lives.

mod force;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use steer_core::driver::{DriverError, Lifeline};
use steer_core::intake::Shared;
use steer_core::intent::OnFailure;
use steer_core::journal::{Journal, ProcessId, State};
use steer_core::keeper::{Job, Keeper, KeeperError, Released};
use steer_core::object::Domain;
use steer_core::plan::{Netns, Planned};

use super::farewell;
use super::fault::{Fault, joined};
use super::ports::Ports;
use super::predecessor;
use super::slots;
use super::watch::present;
use crate::cgroup::CgroupTree;
use crate::drivers::Drivers;
use crate::journal::{RunDir, process};

/// Puts jobs in force in the calling process; what they need goes when they are released.
///
/// It does not outlive its process: after a crash the next start of the same instance adopts what
/// stands, or `clean` removes it. [`spawn`](super::spawn) gives the one that does.
///
/// ```
/// use steer_core::instance::Instance;
/// use steer_core::intent::{OnFailure, Scope};
/// use steer_core::keeper::{Job, Keeper, Released};
/// use steer_core::method::Method;
/// use steer_core::symbol::Bindings;
/// use steer_kernel::fake::FakeHost;
/// use steer_kernel::journal::RunDir;
/// use steer_kernel::keeper::LocalKeeper;
///
/// let dir = RunDir::at(std::env::temp_dir().join(format!("steer-doc-{}", std::process::id())));
/// let mut keeper = LocalKeeper::new(FakeHost::new().drivers(), dir.clone());
/// let job = Job {
///     method: Method::Redirect,
///     bindings: Bindings::new(Instance::new("main")?),
///     on_failure: OnFailure::Open,
///     scope: Scope::command(),
///     objects: Vec::new(),
/// };
/// keeper.commit(&job)?;
/// assert_eq!(dir.read()?.len(), 1);
/// assert_eq!(keeper.release()?, Released::Clean);
/// assert!(!dir.path().exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LocalKeeper {
    drivers: Drivers,
    dir: RunDir,
    engine: ProcessId,
    held: Option<Held>,
    /// Of an engine in another process.
    ports: Ports,
}

/// A job in force.
#[derive(Debug)]
struct Held {
    journal: Journal,
    /// What stands on the host.
    standing: Vec<Planned>,
}

impl LocalKeeper {
    /// A keeper for an engine in this process.
    #[must_use]
    pub fn new(drivers: Drivers, dir: RunDir) -> Self {
        Self::of(drivers, dir, process::this())
    }

    /// A keeper for an engine in another process.
    pub(super) fn of(drivers: Drivers, dir: RunDir, engine: ProcessId) -> Self {
        Self {
            drivers,
            dir,
            engine,
            held: None,
            ports: Ports::default(),
        }
    }

    /// Holds the listeners that the next job steers to.
    pub(super) fn hold_ports(&mut self, ports: Ports) {
        self.ports = ports;
    }

    /// Holds a namespace of the next job that the engine has opened.
    pub(super) fn hold_namespace(&mut self, path: &str, fd: OwnedFd) {
        self.drivers.hold_opened(path, fd);
    }

    /// Refuses what is still steered to an engine that accepts no more.
    pub(super) fn refuse(&self) {
        self.ports.refuse();
    }

    /// Ends what a dead engine leaves at its devices, while they and the rules stand.
    pub(super) fn farewell(&self) {
        if let Some(held) = &self.held {
            farewell::say(&self.drivers, &held.standing);
        }
    }

    /// The descriptors that the engine shall hold as well.
    pub(super) fn lifelines(&self) -> std::io::Result<Vec<Lifeline>> {
        self.drivers.lifelines()
    }

    /// Takes over the job of a keeper that is gone, whose engine lives.
    pub(super) fn adopt(
        &mut self,
        job: Job,
        retired: bool,
        lifelines: Vec<Lifeline>,
    ) -> Result<(), KeeperError> {
        for line in lifelines {
            self.drivers.adopt(line);
        }
        let standing = match retired {
            true => job.retired(),
            false => job.objects.clone(),
        };
        // Those that the predecessor held came with the lifelines.
        let namespaces = self.drivers.hold(&job.objects)?;
        let journal = self.journal(job, namespaces)?;
        {
            let _held = self.dir.lock()?;
            self.dir.write(&journal)?;
        }
        let instance = journal.job.instance().clone();
        let done = self
            .drivers
            .set_all(&instance, &standing, &present(&standing));
        // Whatever the kernel says, the job is ours to undo.
        self.held = Some(Held { journal, standing });
        done?;
        Ok(())
    }

    /// Has the rules take the cgroups' ids as they are by now.
    pub(super) fn rebind(&mut self) -> Result<(), KeeperError> {
        let Self { drivers, held, .. } = self;
        if let Some(Held { journal, standing }) = held {
            drivers.set_all(journal.job.instance(), standing, &present(standing))?;
        }
        Ok(())
    }

    /// Leaves what the job says for the case that its engine is gone.
    pub(super) fn engine_gone(&mut self) -> Result<(), KeeperError> {
        match &self.held {
            None => Ok(()),
            // It ended in order; its processes are waited for.
            Some(held) if held.journal.state == State::Lingering => Ok(()),
            Some(held) => match held.journal.job.on_failure {
                OnFailure::Open => self.undo(),
                OnFailure::Closed => self.leave(State::Crashed),
            },
        }
    }

    /// Waits until the command's processes are gone, then removes what refused them.
    ///
    /// Nothing is waited for where there is no command: what `closed` leaves then stays until the
    /// next start or `clean`.
    pub(super) fn outlast(&mut self) -> Result<(), KeeperError> {
        let Some(path) = self.command_cgroup() else {
            return Ok(());
        };
        let waited = CgroupTree::open()
            .and_then(|tree| tree.cgroup(&path))
            .and_then(|cgroup| cgroup.wait_empty(None));
        match waited {
            Err(error) if !error.is_gone() => {
                let help = error.help();
                let error =
                    DriverError::new(Domain::Cgroup, error.to_string(), help).because(error);
                Err(error.into())
            }
            _ => self.undo(),
        }
    }

    /// Writes what went wrong where `status` and `clean` find it.
    pub(super) fn record(&mut self, error: &KeeperError) {
        if let Some(held) = &mut self.held {
            let what = Fault::of(error).what;
            if held.journal.failures.last() == Some(&what) {
                return;
            }
            held.journal.failures.push(what);
            // There is no other place to say it.
            let _ = self.dir.write(&held.journal);
        }
    }

    /// Changes from what stands to `to`: together, and where that fails each domain by itself.
    fn reduce(&mut self, to: &[Planned]) -> Vec<DriverError> {
        let Self { drivers, held, .. } = self;
        let Some(held) = held else {
            return Vec::new();
        };
        let instance = held.journal.job.instance();
        if drivers
            .set_all(instance, &held.standing, &present(to))
            .is_ok()
        {
            held.standing = to.to_vec();
            return Vec::new();
        }
        let mut errors = Vec::new();
        let mut stays = Vec::new();
        for (from, to) in apart(&held.standing, to) {
            match drivers.set_all(instance, &from, &present(&to)) {
                Ok(()) => stays.extend(to),
                Err(error) => {
                    errors.push(error);
                    stays.extend(from);
                }
            }
        }
        held.standing = stays;
        errors
    }

    /// Removes everything; the journal goes last, and stays while anything else does.
    fn undo(&mut self) -> Result<(), KeeperError> {
        let done = joined(self.reduce(&[]));
        if let Err(error) = &done {
            self.record(error);
            return done;
        }
        // Before the journal goes, so that a successor that finds none finds the ports free.
        self.ports.close();
        self.drivers.let_go();
        match self.held.take() {
            Some(held) => self.dir.remove(held.journal.job.instance()),
            None => Ok(()),
        }
    }

    /// Leaves only what refuses.
    fn leave(&mut self, state: State) -> Result<(), KeeperError> {
        let Some(held) = &mut self.held else {
            return Ok(());
        };
        held.journal.state = state;
        let remains = held.journal.job.remains();
        let done = joined(self.reduce(&remains));
        if done.is_ok() {
            self.ports.close();
        }
        match (&done, &self.held) {
            (Err(error), _) => self.record(error),
            (Ok(()), Some(held)) => self.dir.write(&held.journal)?,
            (Ok(()), None) => {}
        }
        done
    }

    fn command_cgroup(&self) -> Option<String> {
        let held = self.held.as_ref()?;
        held.journal.job.bindings.command_cgroup.clone()
    }

    /// Processes of the command that are still there; those of cgroups below it are not listed.
    fn inhabitants(&self) -> Option<Vec<u32>> {
        // What cannot be asked is treated as empty: removing the cgroup moves whoever is in it.
        let path = self.command_cgroup()?;
        let cgroup = CgroupTree::open().ok()?.cgroup(&path).ok()?;
        // Most often they are about to end with the command.
        let empty = cgroup.wait_empty(Some(Instant::now() + GRACE)).ok()?;
        (!empty).then(|| cgroup.processes().unwrap_or_default())
    }
}

impl Keeper for LocalKeeper {
    fn await_predecessors(&mut self) -> Result<(), KeeperError> {
        predecessor::wait_all(&self.dir)
    }

    fn slots_taken(&mut self, places: &[Netns]) -> Result<Vec<u8>, KeeperError> {
        let places = places
            .iter()
            .filter_map(|netns| self.drivers.identity(netns).ok());
        let taken = slots::taken(&self.dir, &places.collect())?;
        Ok(taken.iter().map(|(_, slot)| slot.number).collect())
    }

    fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
        if self.held.is_some() {
            return self.replace(job);
        }
        self.await_predecessors()?;
        let done = self.put_in_force(job);
        if done.is_err() {
            self.drivers.let_go();
        }
        done
    }

    fn shared(&self) -> std::io::Result<Vec<Shared>> {
        self.drivers.shared()
    }

    fn retire(&mut self) -> Result<(), KeeperError> {
        if let Some(held) = &mut self.held {
            let retired = held.journal.job.retired();
            let instance = held.journal.job.instance();
            // Only what is to change is asked to stand: a device that others removed is no reason to
            // take further flows.
            let changes = apart(&held.standing, &retired);
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for (before, after) in changes.into_iter().filter(|(from, to)| from != to) {
                from.extend(before);
                to.extend(after);
            }
            self.drivers.set_all(instance, &from, &present(&to))?;
            held.standing = retired;
            self.ports.close();
        }
        Ok(())
    }

    fn release(&mut self) -> Result<Released, KeeperError> {
        let Some(held) = &self.held else {
            return Ok(Released::Clean);
        };
        let on_failure = held.journal.job.on_failure;
        farewell::settle(&self.drivers, &held.standing);
        self.refuse();
        let Some(processes) = self.inhabitants() else {
            self.undo()?;
            return Ok(Released::Clean);
        };
        match on_failure {
            OnFailure::Closed => self.leave(State::Lingering)?,
            OnFailure::Open => self.undo()?,
        }
        Ok(Released::Lingers {
            processes,
            on_failure,
        })
    }
}

/// A change as one change a domain and namespace, the last made first.
fn apart(from: &[Planned], to: &[Planned]) -> Vec<(Vec<Planned>, Vec<Planned>)> {
    let key = |p: &Planned| (p.netns.clone(), p.object.domain());
    let mut keys = Vec::new();
    for planned in from.iter().rev().chain(to) {
        if !keys.contains(&key(planned)) {
            keys.push(key(planned));
        }
    }
    let only = |list: &[Planned], wanted: &(_, _)| {
        list.iter()
            .filter(|p| key(p) == *wanted)
            .cloned()
            .collect::<Vec<_>>()
    };
    keys.iter().map(|k| (only(from, k), only(to, k))).collect()
}

/// How long processes of a command that has ended may take to end as well.
const GRACE: Duration = Duration::from_millis(200);
