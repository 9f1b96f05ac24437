//! The engine's side of the keeper process.

use std::collections::BTreeSet;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use steer_core::driver::Lifeline;
use steer_core::intake::Shared;
use steer_core::journal::ProcessId;
use steer_core::keeper::{Job, Keeper, KeeperError, Released};
use steer_core::plan::Netns;

use super::parking::Parking;
use super::predecessor;
use super::process::{NAME, START};
use super::slots;
use super::start::{START_IT, Started, lost, start};
use super::wire::{Reply, Request, Wire, lifelines, shared, tags};
use crate::drivers::netns;
use crate::journal::{RunDir, process};

/// A keeper process: this program again, which calls [`entry`](super::entry) first.
///
/// It is started by the first job that changes something on the host; one that changes nothing
/// needs no process, no privilege and no run directory. A process that cannot be started, or that
/// does not become a keeper, is then [`KeeperError::Lost`].
pub fn spawn() -> Result<Box<dyn Keeper>, KeeperError> {
    Ok(Box::new(Client::new()?))
}

/// A keeper in a process of its own, which outlives the caller's death and undoes its job.
///
/// The caller holds the lifelines beside the keeper. When the keeper dies first, nothing changes,
/// and [`Keeper::restore`] hands them to a successor.
#[derive(Debug)]
pub struct Client {
    link: Option<Link>,
    engine: ProcessId,
    held: Option<Held>,
    /// The life of a keeper that is there and does not answer.
    hung: Option<PipeReader>,
    /// Duplicates of the engine's listeners, for a keeper and its successors.
    listeners: Vec<OwnedFd>,
    /// What the keeper's drivers share.
    shared: Vec<Shared>,
    /// Declared after the link: the keeper sees the end before the lifelines close here.
    parked: Parking,
}

/// The connection to one keeper process.
#[derive(Debug)]
struct Link {
    wire: Wire,
    /// Ends with the keeper.
    life: PipeReader,
}

/// The job in force, for a successor.
#[derive(Debug)]
struct Held {
    job: Job,
    retired: bool,
}

impl Client {
    /// As [`spawn`], with the type.
    pub fn new() -> Result<Self, KeeperError> {
        let parked = Parking::new().map_err(|e| lost("hold its lifelines", e))?;
        Ok(Self {
            link: None,
            engine: process::this(),
            held: None,
            hung: None,
            listeners: Vec::new(),
            shared: Vec::new(),
            parked,
        })
    }

    fn ask(
        &mut self,
        request: &Request,
        beside: &[RawFd],
        what: &str,
    ) -> Result<Option<Released>, KeeperError> {
        let Self {
            link,
            parked,
            shared,
            engine,
            ..
        } = self;
        let link = match link {
            Some(link) => link,
            None => link.insert(Link::start(*engine)?),
        };
        link.ask(request, beside, what)
            .and_then(|answer| match answer {
                Answer::Done(lines, given) => {
                    parked
                        .put(&lines)
                        .map_err(|e| lost("hold its lifelines", e))?;
                    *shared = given;
                    Ok(None)
                }
                Answer::Released(released) => Ok(Some(released)),
            })
    }

    /// Asks, and asks a successor where the keeper is gone.
    fn ask_someone(
        &mut self,
        request: &Request,
        beside: &[RawFd],
        what: &str,
    ) -> Result<Option<Released>, KeeperError> {
        if self.hangs_on()? {
            return Err(lost(what, Errno::EAGAIN.into()));
        }
        let had_one = self.link.is_some();
        match self.ask(request, beside, what) {
            Err(KeeperError::Lost { what, source }) if hangs(&source) => {
                // It has not let go of anything, so a successor would be in its way; and a late
                // answer would be taken for that to another question. It undoes its work when it
                // goes on and finds the socket closed; its end is waited for.
                self.hung = self.link.take().map(|link| link.life);
                Err(KeeperError::Lost { what, source })
            }
            Err(KeeperError::Lost { .. }) if had_one || self.link.is_some() => {
                // Whatever it did to the socket, it is of no use any more.
                self.succeed()?;
                tracing::warn!("the keeper was gone; another one has taken over");
                self.ask(request, beside, what)
            }
            other => other,
        }
    }

    /// Whether a keeper that does not answer still is there.
    fn hangs_on(&self) -> Result<bool, KeeperError> {
        match &self.hung {
            Some(life) => ended(life).map(|ended| !ended),
            None => Ok(false),
        }
    }

    /// Starts another keeper, which adopts the job as it stands.
    fn succeed(&mut self) -> Result<(), KeeperError> {
        const WHAT: &str = "take over the job";
        let mut link = Link::start(self.engine)?;
        if let Some(Held { job, retired }) = &self.held {
            let lines = self.parked.take().map_err(|e| lost(WHAT, e))?;
            let (lifelines, mut fds) = tags(&lines);
            fds.extend(numbers(&self.listeners));
            let request = Request::Adopt {
                job: Box::new(job.clone()),
                retired: *retired,
                lifelines,
            };
            let answer = link.ask(&request, &fds, WHAT);
            // Held on to whatever became of it: the next try needs them, and so does the job.
            self.parked.put(&lines).map_err(|e| lost(WHAT, e))?;
            if let Answer::Done(lines, shared) = answer? {
                self.parked.put(&lines).map_err(|e| lost(WHAT, e))?;
                self.shared = shared;
            }
        }
        self.hung = None;
        self.link = Some(link);
        Ok(())
    }
}

impl Keeper for Client {
    fn await_predecessors(&mut self) -> Result<(), KeeperError> {
        match RunDir::find() {
            Ok(dir) => predecessor::wait_all(&dir),
            // Whoever has no place for journals finds out when there is one to write.
            Err(_) => Ok(()),
        }
    }

    fn hold(&mut self, listeners: &[BorrowedFd<'_>]) -> Result<(), KeeperError> {
        self.listeners = listeners
            .iter()
            .map(BorrowedFd::try_clone_to_owned)
            .collect::<io::Result<_>>()
            .map_err(|e| lost("hold its listeners", e))?;
        Ok(())
    }

    fn slots_taken(&mut self, places: &[Netns]) -> Result<Vec<u8>, KeeperError> {
        let Ok(dir) = RunDir::find() else {
            return Ok(Vec::new());
        };
        let places = places
            .iter()
            .filter_map(|place| netns::identity(place).ok());
        let taken = slots::taken(&dir, &places.collect())?;
        Ok(taken.iter().map(|(_, slot)| slot.number).collect())
    }

    fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
        if job.objects.is_empty() && self.held.is_none() {
            return Ok(());
        }
        let (namespaces, beside) = namespaces(job);
        let open: Vec<RawFd> = beside
            .iter()
            .chain(&self.listeners)
            .map(AsRawFd::as_raw_fd)
            .collect();
        let request = Request::Commit {
            job: Box::new(job.clone()),
            namespaces,
        };
        self.ask_someone(&request, &open, "put the job in force")?;
        drop(beside);
        self.held = Some(Held {
            job: job.clone(),
            retired: false,
        });
        Ok(())
    }

    fn shared(&self) -> io::Result<Vec<Shared>> {
        duplicates(&self.shared)
    }

    fn retire(&mut self) -> Result<(), KeeperError> {
        if self.held.is_some() {
            self.ask_someone(&Request::Retire, &[], "take no further flow")?;
        }
        if let Some(held) = &mut self.held {
            held.retired = true;
        }
        // Nothing is steered to them; whether they accept is the engine's affair.
        self.listeners.clear();
        Ok(())
    }

    fn release(&mut self) -> Result<Released, KeeperError> {
        if self.held.is_none() {
            return Ok(Released::Clean);
        }
        let released = self.ask_someone(&Request::Release, &[], "undo the job")?;
        self.held = None;
        self.listeners.clear();
        self.shared.clear();
        drop(self.parked.take());
        Ok(released.unwrap_or(Released::Clean))
    }

    fn lost(&self) -> io::Result<Option<PipeReader>> {
        let present = self.link.as_ref().map(|link| &link.life);
        let life = present.or(self.hung.as_ref());
        life.map(PipeReader::try_clone).transpose()
    }

    fn restore(&mut self) -> Result<(), KeeperError> {
        if self.hangs_on()? {
            return Err(lost("take over the job", Errno::EAGAIN.into()));
        }
        match &self.link {
            // Whoever asks may have learnt late of one that has been replaced since.
            Some(link) if !ended(&link.life)? => Ok(()),
            _ => self.succeed(),
        }
    }
}

enum Answer {
    Done(Vec<Lifeline>, Vec<Shared>),
    Released(Released),
}

impl Link {
    fn start(engine: ProcessId) -> Result<Self, KeeperError> {
        const WHAT: &str = START_IT;
        let Started {
            wire,
            life,
            mut first,
        } = start(START, NAME)?;
        let mut link = Self { wire, life };
        let greeted = link.ask(&Request::Hello { engine }, &[], WHAT);
        first.settle(greeted.is_ok());
        greeted?;
        link.wire
            .patience(WORK_PATIENCE)
            .map_err(|e| lost(WHAT, e))?;
        Ok(link)
    }

    fn ask(&mut self, request: &Request, fds: &[RawFd], what: &str) -> Result<Answer, KeeperError> {
        let answer = self
            .wire
            .send(request, fds)
            .and_then(|()| self.wire.receive::<Reply>());
        match answer {
            Ok(Some((
                Reply::Done {
                    lifelines: tags,
                    shared: labels,
                },
                mut fds,
            ))) => {
                let given = shared(labels, fds.split_off(tags.len().min(fds.len())));
                Ok(Answer::Done(lifelines(tags, fds), given))
            }
            Ok(Some((Reply::Released(released), _))) => Ok(Answer::Released(released)),
            Ok(Some((Reply::Failed(fault), _))) => Err(fault.into()),
            Ok(None) => Err(lost(what, io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(lost(what, source)),
        }
    }
}

/// The namespaces of a job's paths, so that the keeper works in the ones that the engine has
/// opened its listeners in; what cannot be opened the keeper tells of.
fn namespaces(job: &Job) -> (Vec<String>, Vec<OwnedFd>) {
    let places: BTreeSet<&Netns> = job.objects.iter().map(|planned| &planned.netns).collect();
    let opened = places.into_iter().filter_map(|netns| match netns {
        Netns::Path(path) => Some((path.clone(), steer_core::netns::open(netns).ok()??.into())),
        _ => None,
    });
    opened.unzip()
}

fn duplicates(all: &[Shared]) -> io::Result<Vec<Shared>> {
    let duplicate = |one: &Shared| {
        Ok(Shared {
            label: one.label.clone(),
            fd: one.fd.try_clone()?,
        })
    };
    all.iter().map(duplicate).collect()
}

fn numbers(fds: &[OwnedFd]) -> Vec<RawFd> {
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}

/// Whether the keeper is there and does not answer in time.
fn hangs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Whether the process is gone whose life this is.
pub(crate) fn ended(life: &PipeReader) -> Result<bool, KeeperError> {
    // Nothing is ever written to it, so whatever there is to say is its end.
    let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(lost("see whether it lives", errno.into())),
        }
    }
}

/// How long a change may take: iptables waits for its lock for some seconds, once a program.
pub(crate) const WORK_PATIENCE: Duration = Duration::from_secs(30);
