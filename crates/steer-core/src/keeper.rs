//! Whoever holds what was put in force, and undoes it when the engine is gone.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::driver::DriverError;
use crate::instance::Instance;
use crate::intake::{Shared, Sockets};
use crate::intent::{OnFailure, Scope};
use crate::mark::Mark;
use crate::method::Method;
use crate::netns::MakeSockets;
use crate::object::{Listener, Namespace};
use crate::plan::{Life, Netns, Planned};
use crate::policy::SecretError;
use crate::symbol::{Bindings, Unbound};

/// Puts host objects in force and undoes them.
///
/// Two implementations: one in the engine's own process, for tests and embedding, and a process
/// of its own that outlives the engine's death.
pub trait Keeper: fmt::Debug + Send {
    /// Waits, for a bounded time, until the keepers of engines that are gone have cleared up: the
    /// ports that they hold are free then. Comes before the listeners are opened.
    fn await_predecessors(&mut self) -> Result<(), KeeperError> {
        Ok(())
    }

    /// Makes the namespaces of a plan and tells the process that holds them, whose directory in
    /// `/proc` leads to them. Comes before the listeners are opened.
    ///
    /// # Errors
    /// Nothing is left.
    fn make(&mut self, namespace: &Namespace) -> Result<u32, KeeperError> {
        let _ = namespace;
        Err(KeeperError::NoNamespaces)
    }

    /// Opens the sockets of a listener in the namespaces that were made, and tells their port.
    ///
    /// # Errors
    /// The port is taken, or there are no such namespaces.
    fn listen(&mut self, listener: &Listener) -> Result<(u16, Sockets), EngageError> {
        let _ = listener;
        Err(KeeperError::NoNamespaces.into())
    }

    /// What makes sockets in the namespaces that were made.
    fn sockets(&self) -> Option<Arc<dyn MakeSockets>> {
        None
    }

    /// Holds duplicates of the listeners that the next job steers to, and never accepts.
    ///
    /// After the engine's death their ports are nobody else's while anything still steers there.
    /// A keeper that dies with the engine has no use for them.
    fn hold(&mut self, listeners: &[BorrowedFd<'_>]) -> Result<(), KeeperError> {
        let _ = listeners;
        Ok(())
    }

    /// The slots that steerings in force in one of these network namespaces use.
    fn slots_taken(&mut self, places: &[Netns]) -> Result<Vec<u8>, KeeperError> {
        let _ = places;
        Ok(Vec::new())
    }

    /// Puts a job in force, in the place of the one before: all of it, or nothing and an error.
    fn commit(&mut self, job: &Job) -> Result<(), KeeperError>;

    /// What drivers share of what the job made ([`Bound::shared`](crate::intake::Bound)).
    ///
    /// # Errors
    /// A descriptor cannot be duplicated.
    fn shared(&self) -> io::Result<Vec<Shared>> {
        Ok(Vec::new())
    }

    /// Takes no further flow and lets those that were taken go on.
    fn retire(&mut self) -> Result<(), KeeperError>;

    /// Undoes the job. Goes on past a failure and reports all of them.
    fn release(&mut self) -> Result<Released, KeeperError>;

    /// A pipe that ends when the keeper is gone; `None` where it cannot be gone while the caller
    /// lives.
    fn lost(&self) -> io::Result<Option<io::PipeReader>> {
        Ok(None)
    }

    /// Puts a successor in the place of a keeper that is gone; it adopts the job as it stands.
    fn restore(&mut self) -> Result<(), KeeperError> {
        Ok(())
    }
}

/// What an undone job leaves behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Released {
    /// Nothing.
    Clean,
    /// Processes of the command outlive it: under `open` they go direct from here on, under
    /// `closed` they are refused, and the keeper removes the refusal when the last one is gone.
    Lingers {
        /// Their ids.
        processes: Vec<u32>,
        /// Whether they are refused.
        on_failure: OnFailure,
    },
}

/// The keeper of plans that change nothing on the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeeper;

impl Keeper for NoKeeper {
    fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
        assert!(
            job.objects.is_empty(),
            "a plan with host objects needs a keeper"
        );
        Ok(())
    }

    fn retire(&mut self) -> Result<(), KeeperError> {
        Ok(())
    }

    fn release(&mut self) -> Result<Released, KeeperError> {
        Ok(Released::Clean)
    }
}

/// What a keeper is asked to put in force; it crosses a process boundary as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The method, for the journal.
    pub method: Method,
    /// Values of the plan's symbols, the instance among them.
    pub bindings: Bindings,
    /// What remains when the engine dies.
    pub on_failure: OnFailure,
    /// Whose traffic it is, to tell an overlapping second instance.
    pub scope: Scope,
    /// The host's objects, symbols replaced, in the order in which they are made.
    pub objects: Vec<Planned>,
}

impl Job {
    /// The name of the steering.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.bindings.instance
    }

    /// The objects while no further flow is taken.
    #[must_use]
    pub fn retired(&self) -> Vec<Planned> {
        self.objects
            .iter()
            .map(|p| match p.life {
                Life::Steer => Planned {
                    object: p.object.retired(),
                    ..p.clone()
                },
                Life::Support | Life::Guard => p.clone(),
            })
            .collect()
    }

    /// What stands after a crash of the engine: nothing under `open`; under `closed` the guards
    /// and what carries them.
    #[must_use]
    pub fn remains(&self) -> Vec<Planned> {
        match self.on_failure {
            OnFailure::Open => Vec::new(),
            OnFailure::Closed => self
                .objects
                .iter()
                .filter(|p| p.life != Life::Steer)
                .cloned()
                .collect(),
        }
    }
}

/// Why a job could not be put in force or undone.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A driver failed; everything done before it was undone.
    #[error("{0}")]
    Driver(#[from] DriverError),
    /// Several things failed while undoing.
    #[error("{} things could not be undone, the first: {first}", others.len() + 1)]
    Undo {
        /// The first failure.
        first: DriverError,
        /// The rest.
        others: Vec<DriverError>,
    },
    /// The name is taken by a steering that is in force.
    #[error("the instance {instance} is in force already, by process {pid}")]
    Taken {
        /// Its name.
        instance: Instance,
        /// The engine's process.
        pid: u32,
    },
    /// A steering in force has a scope that overlaps.
    #[error("the instance {instance} (process {pid}) steers an overlapping scope: {scope}")]
    Overlap {
        /// Its name.
        instance: Instance,
        /// The engine's process.
        pid: u32,
        /// The keys that overlap.
        scope: String,
    },
    /// A steering in force marks its packets as this one would.
    #[error("the instance {instance} (process {pid}) marks its packets with {mark} as well")]
    Marked {
        /// Its name.
        instance: Instance,
        /// The engine's process.
        pid: u32,
        /// The mark.
        mark: Mark,
    },
    /// A steering in force in the same network namespace has the name, and no journal here.
    #[error(
        "the instance {instance} is in force already in this network namespace, by a process that cannot be seen from here"
    )]
    NameHeld {
        /// Its name.
        instance: Instance,
    },
    /// Somebody in the same network namespace has the slot, and no journal here.
    #[error("the slot {number} is taken in this network namespace")]
    SlotHeld {
        /// The slot's number.
        number: u8,
    },
    /// Somebody in the same network namespace has the mark, and no journal here.
    #[error("the mark {mark} is taken in this network namespace")]
    MarkHeld {
        /// The mark.
        mark: Mark,
    },
    /// A plan with namespaces of its own came to a keeper that makes none.
    #[error("the keeper of this plan makes no namespaces")]
    NoNamespaces,
    /// The journal could not be written or read.
    #[error("the journal {path} could not be written")]
    Journal {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Others could write journals, and have us change and end what they like.
    #[error(
        "the run directory {path} is not ours alone: it belongs to user {owner} and has mode {mode:04o}"
    )]
    NotOurs {
        /// The directory.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// The keeper's process could not be started or does not answer.
    #[error("the keeper process does not answer: {what}")]
    Lost {
        /// What was attempted.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The keeper's process reports a failure; its text and advice came over the socket.
    #[error("{what}")]
    Remote {
        /// The failure and its causes.
        what: String,
        /// The advice.
        help: String,
    },
}

impl KeeperError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Driver(error) => error.help().to_owned(),
            Self::Undo { first, .. } => {
                format!("{}; then run `steer clean`", first.help())
            }
            Self::Taken { instance, .. } => format!(
                "stop it first, or choose another name with `--name` (this one is {instance})"
            ),
            Self::Overlap { pid, .. } => {
                format!("stop it first (kill {pid}), or narrow one of the two scopes")
            }
            Self::Marked { pid, .. } => {
                format!("stop it first (kill {pid}), or choose another mark under `mark.steer`")
            }
            Self::NameHeld { instance } => format!(
                "choose another name with `--name`, or stop whoever holds the socket `@steer-name-{instance}` (`ss -xlp` in its container)"
            ),
            Self::SlotHeld { number } => format!(
                "stop whoever holds the socket `@steer-slot-{number}` (`ss -xlp` in its container)"
            ),
            Self::MarkHeld { mark } => format!(
                "choose another mark under `mark.steer`, or stop whoever holds the socket `@steer-mark-{mark}` (`ss -xlp` in its container)"
            ),
            Self::NoNamespaces => {
                "this is a mistake in the method; please report the plan".to_owned()
            }
            Self::Journal { path, .. } => {
                format!("make {path} writable, or set STEER_RUN_DIR to a directory that is")
            }
            Self::NotOurs { path, .. } => format!(
                "find out who made it; then `chown \"$(id -u)\" {path} && chmod go-w {path}`, or set STEER_RUN_DIR to a directory of your own"
            ),
            Self::Lost { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
                // The kernel puts no more descriptors of a message into a full table.
                Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS) => {
                    "raise `ulimit -n`".to_owned()
                }
                // It is gone: what it needs before it can say why are a process and memory.
                Some(Errno::ECONNRESET | Errno::EPIPE) => {
                    "check `ulimit -u` and the free memory, run `steer clean` and start again"
                        .to_owned()
                }
                Some(Errno::EAGAIN) => "a keeper that is stopped or hangs undoes its work when it \
                                        goes on: kill -CONT the process `steer-keeper`, or \
                                        kill -9 it and run `steer clean`"
                    .to_owned(),
                _ => "run `steer clean` and start again".to_owned(),
            },
            Self::Remote { help, .. } => help.clone(),
        }
    }
}

/// Why a plan could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum EngageError {
    /// A listener could not be opened.
    #[error("the listener {id} could not listen on {address}")]
    Listen {
        /// Its name in the plan.
        id: String,
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A control listener could not be opened.
    #[error("the control listener {id} could not be opened")]
    Control {
        /// Its name in the plan.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// The namespace of a listener could not be entered.
    #[error("the network namespace {path} could not be entered")]
    Netns {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Every slot for marks is in use.
    #[error(
        "all {} slots for marks are taken in this network namespace",
        Mark::SLOTS
    )]
    NoSlot,
    /// The plan names what nothing gives a value.
    #[error(transparent)]
    Unbound(#[from] Unbound),
    /// A secret that the command is given could not be read.
    #[error("the login of the proxy port could not be read")]
    Secret(#[from] SecretError),
    /// The keeper could not do it.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl EngageError {
    pub(crate) fn of_netns(netns: &Netns, source: io::Error) -> Self {
        let path = match netns {
            Netns::Here => "/proc/self/ns/net".to_owned(),
            Netns::New => "of the command".to_owned(),
            Netns::Path(path) => path.clone(),
        };
        Self::Netns { path, source }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Listen { address, .. } => format!(
                "see who listens there with `ss -ltnp 'sport = :{}'`, or choose another port",
                address.port()
            ),
            Self::Netns { path, .. } => format!(
                "see whether it is there with `ls -l {path}`; entering it needs CAP_SYS_ADMIN: run as root"
            ),
            Self::Control { .. } => "check `ulimit -n` and that /dev/urandom can be read".to_owned(),
            Self::NoSlot => {
                "see who holds the sockets `@steer-slot-0` and on (`ss -xlp`) and stop one of them, or use a method that marks nothing (redirect)".to_owned()
            }
            Self::Unbound(_) => {
                "this is a mistake in the method; please report the plan".to_owned()
            }
            Self::Secret(error) => error.help(),
            Self::Keeper(error) => error.help(),
        }
    }
}
