//! Removing what crashes left, with no config and no state.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steer_core::driver::Found;
use steer_core::instance::Instance;
use steer_core::journal::{Journal, ProcessId};
use steer_core::keeper::KeeperError;
use steer_core::object::Domain;
use steer_core::plan::{Netns, Planned};

use super::elsewhere;
use crate::drivers::claims::Claim;
use crate::drivers::{Borrowed, Drivers};
use crate::journal::{Entry, RunDir, netns, process};
use crate::{netns as here, sys};

/// Whose objects are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of which neither engine nor keeper lives.
    Dead,
    /// All; what lives is ended first.
    All,
}

/// What a cleaning did.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// Objects that were removed.
    pub removed: Vec<Found>,
    /// Instances whose journals were removed.
    pub journals: Vec<Instance>,
    /// Steerings in force, which were left alone, or ended where that was asked for.
    pub live: Vec<Live>,
    /// Objects that were left alone: a steering in force has them, and no journal here.
    pub kept: Vec<Found>,
    /// What could not be done; the rest was.
    pub failures: Vec<KeeperError>,
}

/// A steering in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its name.
    pub instance: Instance,
    /// The engine, while it lives.
    pub engine: Option<u32>,
    /// The keeper, while it lives.
    pub keeper: Option<u32>,
    /// Whether the keeper waits for the end of a command's processes.
    pub waits: bool,
    /// Whether it was ended.
    pub ended: bool,
}

/// Removes everything that carries our tags in this network namespace and in those that journals
/// name, and the journals of what is gone.
///
/// # Errors
/// Only where the run directory cannot be read. All else is in [`Cleaned::failures`], and the
/// cleaning goes on past it.
pub fn clean(drivers: &mut Drivers, dir: &RunDir, reach: Reach) -> Result<Cleaned, KeeperError> {
    let mut done = Cleaned::default();
    let entries = dir.read()?;
    let mut spared = BTreeSet::new();
    for entry in &entries {
        let Ok(journal) = &entry.journal else {
            continue;
        };
        if reach == Reach::Dead {
            done.failures.extend(settle(journal).err());
        }
        let Some(mut live) = living(journal) else {
            continue;
        };
        match reach {
            Reach::All => match end(journal) {
                Ok(()) => live.ended = true,
                Err(source) => {
                    done.failures.push(KeeperError::Lost {
                        what: format!("end the processes of {}", entry.instance),
                        source,
                    });
                    spared.insert(entry.instance.clone());
                }
            },
            Reach::Dead => {
                spared.insert(entry.instance.clone());
            }
        }
        done.live.push(live);
    }
    // Nobody's to end from here, whatever the reach: their journals are not in this directory.
    let elsewhere = elsewhere::journals(dir);
    let mut stuck = BTreeSet::new();
    for netns in namespaces(drivers, &entries) {
        let place = drivers.identity(&netns).unwrap_or_default();
        let (mut found, errors) = drivers.observe(&netns);
        // A cgroup goes after what is attached to it: that would stay with sockets that were made
        // in the cgroup, and nobody would find it.
        found.sort_by_key(|found| found.domain == Domain::Cgroup);
        done.failures
            .extend(errors.into_iter().map(KeeperError::Driver));
        // Journals are written before objects are made: whoever started meanwhile is in one.
        let here = dir.read()?.into_iter().filter_map(|e| e.journal.ok());
        let mut journals: Vec<Journal> = here.collect();
        let started = journals.iter().filter_map(living);
        spared.extend(started.map(|live| live.instance));
        journals.extend(elsewhere.iter().cloned());
        for found in found {
            let owners = owners(&found, &place, &journals);
            if !owners.is_disjoint(&spared) {
                continue;
            }
            // One of the same name in another namespace has nothing to do with what is here.
            let here = |journal: &&Journal| {
                // Cgroups are in no namespace, nor is what is attached to them.
                matches!(found.domain, Domain::Cgroup | Domain::Ebpf)
                    || journal.places().contains(place.as_str())
            };
            let mut living = elsewhere.iter().filter(here).filter_map(living);
            if let Some(live) = living.find(|l| owners.contains(&l.instance)) {
                spared.insert(live.instance.clone());
                done.live.push(live);
                continue;
            }
            let claim = Claim::behind(&found);
            let borrowed = claim.map(|claim| drivers.borrow(&netns, &claim));
            // Held meanwhile, so that nobody starts to use what is removed.
            let _borrowed = match borrowed.transpose() {
                Ok(Some(Borrowed::Theirs)) => {
                    // A journal here may be his, who is not seen from here.
                    stuck.extend(found.instance.clone());
                    done.kept.push(found);
                    continue;
                }
                Ok(borrowed) => borrowed,
                Err(error) => {
                    stuck.extend(owners);
                    done.failures.push(error.into());
                    continue;
                }
            };
            match drivers.remove(&found) {
                Ok(()) => done.removed.push(found),
                Err(error) => {
                    stuck.extend(owners);
                    done.failures.push(error.into());
                }
            }
        }
    }
    for Entry {
        instance, journal, ..
    } in entries
    {
        if spared.contains(&instance) || stuck.contains(&instance) {
            continue;
        }
        if let Ok(journal) = &journal {
            drivers.forget_flows(&here_still(drivers, journal));
        }
        match forget(dir, &instance) {
            Ok(true) => done.journals.push(instance),
            Ok(false) => {}
            Err(error) => done.failures.push(error),
        }
    }
    Ok(done)
}

/// Whose an object is: the instance that it names, or everybody whose journal lists it.
///
/// What bears no name and is in no journal is nobody's: its maker is dead, and so was removed.
fn owners(found: &Found, place: &str, journals: &[Journal]) -> BTreeSet<Instance> {
    if let Some(instance) = &found.instance {
        return BTreeSet::from([instance.clone()]);
    }
    let lists = |journal: &&Journal| {
        journal.job.objects.iter().any(|planned| {
            planned.object.domain() == found.domain
                && journal.place(&planned.netns) == Some(place)
                && planned.object.to_string() == found.what
        })
    };
    let listing = journals.iter().filter(lists);
    listing.map(|j| j.job.instance().clone()).collect()
}

/// The objects of a journal whose namespace is still the one that they were made in.
fn here_still(drivers: &Drivers, journal: &Journal) -> Vec<Planned> {
    let same = |planned: &&Planned| {
        let place = drivers.identity(&planned.netns);
        place.is_ok_and(|place| journal.place(&planned.netns) == Some(place.as_str()))
    };
    journal.job.objects.iter().filter(same).cloned().collect()
}

/// Removes a journal unless a start has just replaced it, and tells whether there was one.
fn forget(dir: &RunDir, instance: &Instance) -> Result<bool, KeeperError> {
    if !dir.file(instance).exists() {
        // A keeper that was ended in order has removed it itself.
        return Ok(false);
    }
    let lock = dir.lock()?;
    if dir
        .read()?
        .into_iter()
        .filter_map(in_force)
        .any(|i| i == *instance)
    {
        return Ok(false);
    }
    lock.remove(instance).map(|()| true)
}

fn in_force(entry: Entry) -> Option<Instance> {
    living(&entry.journal.ok()?).map(|live| live.instance)
}

pub(super) fn living(journal: &Journal) -> Option<Live> {
    let pid = |id: ProcessId| process::is_alive(id).then_some(id.pid);
    let (engine, keeper) = (pid(journal.engine), pid(journal.keeper));
    (engine.is_some() || keeper.is_some()).then(|| Live {
        instance: journal.job.instance().clone(),
        engine,
        keeper,
        waits: engine.is_none() && journal.job.bindings.command_cgroup.is_some(),
        ended: false,
    })
}

/// Gives a keeper whose engine is dead the time to clear up, or to die where it was killed too.
fn settle(journal: &Journal) -> Result<(), KeeperError> {
    if living(journal).is_some_and(|live| live.engine.is_none() && !live.waits) {
        wait(journal.keeper, MOMENT).map_err(|source| KeeperError::Lost {
            what: format!("wait for the keeper of {}", journal.job.instance()),
            source,
        })?;
    }
    Ok(())
}

/// Ends the engine, in order where it lets us, and then a keeper that still waits for something.
fn end(journal: &Journal) -> std::io::Result<()> {
    stop(journal.engine, &[Signal::SIGTERM, Signal::SIGKILL])?;
    if wait(journal.keeper, PATIENCE)? {
        return Ok(());
    }
    // It waits for the command's processes, and would be right to; the user wants it all gone.
    stop(journal.keeper, &[Signal::SIGKILL])
}

fn stop(id: ProcessId, signals: &[Signal]) -> std::io::Result<()> {
    if id == process::this() {
        return Ok(());
    }
    for signal in signals {
        if !process::is_alive(id) {
            return Ok(());
        }
        let pid = i32::try_from(id.pid).map_err(|_| Errno::ESRCH)?;
        match kill(Pid::from_raw(pid), *signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        if wait(id, PATIENCE)? {
            return Ok(());
        }
    }
    Err(Errno::ETIMEDOUT.into())
}

/// Whether the process is gone within the time.
pub(super) fn wait(id: ProcessId, time: Duration) -> std::io::Result<bool> {
    let fd = match sys::process::pidfd_open(id.pid) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => return Ok(true),
        other => other?,
    };
    if !process::is_alive(id) {
        return Ok(true);
    }
    let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    let mut fds = [PollFd::new(
        std::os::fd::AsFd::as_fd(&fd),
        PollFlags::POLLIN,
    )];
    match poll(&mut fds, millis) {
        // Whoever waits in turns comes back; whoever does not would have waited as long.
        Err(Errno::EINTR) => Ok(!process::is_alive(id)),
        ready => Ok(ready? > 0),
    }
}

/// This namespace and those that journals name, each once.
fn namespaces(drivers: &Drivers, entries: &[Entry]) -> Vec<Netns> {
    let mut seen: BTreeSet<String> = here::current().into_iter().collect();
    let mut all = vec![Netns::Here];
    let journals = entries.iter().filter_map(|e| e.journal.as_ref().ok());
    for journal in journals {
        let joined = journal.namespaces.iter();
        let joined = joined.filter_map(|(path, id)| still(drivers, path, id));
        let own = netns::find(&journal.netns).map(|path| path.display().to_string());
        for path in joined.chain(own) {
            let netns = Netns::Path(path);
            if drivers.identity(&netns).is_ok_and(|id| seen.insert(id)) {
                all.push(netns);
            }
        }
    }
    all
}

/// A path to the namespace that a path led to, `None` where it is gone and took its objects along.
pub(super) fn still(drivers: &Drivers, path: &str, id: &str) -> Option<String> {
    let led = drivers.identity(&Netns::Path(path.to_owned()));
    if led.is_ok_and(|led| led == id) {
        return Some(path.to_owned());
    }
    netns::find(id).map(|path| path.display().to_string())
}

/// What was done and what was left alone; failures are errors and told as such by the caller.
impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            removed,
            journals,
            live,
            kept,
            failures,
        } = self;
        for live in live {
            writeln!(f, "{live}")?;
        }
        for found in kept {
            write!(f, "left alone {}", found.what)?;
            if let Netns::Path(path) = &found.netns {
                write!(f, " in {path}")?;
            }
            writeln!(f, ", in force by a process that cannot be seen from here")?;
        }
        for found in removed {
            write!(f, "removed {}", found.what)?;
            match &found.netns {
                Netns::Path(path) => writeln!(f, " in {path}")?,
                _ => writeln!(f)?,
            }
        }
        for instance in journals {
            writeln!(f, "removed the journal of {instance}")?;
        }
        let nothing = live.is_empty() && removed.is_empty() && journals.is_empty();
        if nothing && kept.is_empty() && failures.is_empty() {
            writeln!(f, "nothing of steer is left here")?;
        }
        Ok(())
    }
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.ended { "ended" } else { "left alone" };
        write!(f, "{verb} {}, in force by", self.instance)?;
        match (self.engine, self.keeper) {
            (Some(engine), _) => write!(f, " process {engine}"),
            (None, Some(keeper)) if self.waits => write!(
                f,
                " keeper {keeper}, which waits for the end of the command's processes"
            ),
            (None, Some(keeper)) => write!(
                f,
                " keeper {keeper}, which clears up after its engine; if it hangs: kill -9 {keeper}"
            ),
            (None, None) => write!(f, " nobody"),
        }
    }
}

/// How long a keeper has to clear up before it is told of as one that may hang.
const MOMENT: Duration = Duration::from_secs(2);

/// How long an engine may drain before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
