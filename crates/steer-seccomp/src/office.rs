//! What the supervisor, its connects and their answers share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use steer_core::intent::Traffic;
use steer_core::steered::{Identity, Steered};
use steer_kernel::takeover::{Again, Takeover};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::joining::Stage;
use crate::notice::{Delivery, Notice};
use crate::process::Process;
use crate::waiting::Waiting;

/// What the supervisor, its connects and their answers share.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) takeover: Takeover,
    pub(crate) traffic: Traffic,
    /// Whether a program may get a connection of its own where nothing has to be seen.
    pub(crate) hands_over: bool,
    /// Whether to find out who calls.
    pub(crate) identify: bool,
    pub(crate) steered_tx: mpsc::Sender<Steered>,
    pub(crate) runtime: Handle,
    /// Calls that wait for a connect of an earlier call, by the socket's cookie.
    pub(crate) waiting: Mutex<HashMap<u64, Vec<Waiting>>>,
    /// Held sockets whose EINPROGRESS did not reach its call.
    pub(crate) untold: Mutex<Vec<u64>>,
    /// Calls that wait for the engine, by the socket's cookie.
    pub(crate) choices: Mutex<HashMap<u64, Weak<Mutex<Stage>>>>,
    /// Held by whoever begins to hold a socket.
    pub(crate) holding: Mutex<()>,
    /// Calls of processes that let nobody take their descriptors.
    pub(crate) hidden: AtomicU64,
}

impl Office {
    /// Who calls.
    pub(crate) fn identity(&self, process: Process) -> Identity {
        match self.identify {
            true => process.identity(),
            false => Identity::default(),
        }
    }

    /// Counts a call that had to be refused because its process cannot be looked at.
    pub(crate) fn hidden(&self, thread: u32) {
        let count = self.hidden.fetch_add(1, Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(
                thread,
                count,
                help = "set-user-id programs and other users cannot be steered by this method",
                "calls were refused: their process lets nobody take its sockets"
            );
        }
    }

    /// Notes what became of the EINPROGRESS of a held socket.
    pub(crate) fn told_in_progress(&self, cookie: u64, delivery: Delivery) {
        if delivery == Delivery::Lost {
            let mut untold = lock(&self.untold);
            // Of sockets that are gone nobody asks.
            if untold.len() >= MOST_UNTOLD {
                untold.remove(0);
            }
            untold.push(cookie);
        }
    }

    /// What a held socket's further connect gets.
    pub(crate) fn in_progress(&self, cookie: u64) -> Errno {
        let mut untold = lock(&self.untold);
        match untold.iter().position(|known| *known == cookie) {
            Some(at) => {
                untold.swap_remove(at);
                Errno::EINPROGRESS
            }
            None => Errno::EALREADY,
        }
    }

    /// Answers a further connect of a socket that is known.
    pub(crate) fn answer_again(&self, cookie: u64, notice: Notice, known: Again) {
        let result = match known {
            Again::Answer(Err(Errno::EALREADY)) => Err(self.in_progress(cookie)),
            Again::Answer(result) => result,
            // A nonblocking call does not wait.
            Again::New | Again::Wait => Err(Errno::EALREADY),
        };
        if notice.answer(result) == Delivery::Lost && result.is_ok() {
            self.takeover.untold(cookie);
        }
    }

    /// Lets calls that wait for a connect end where a signal waits for their thread.
    pub(crate) fn look_for_signals(&self, cookie: u64) {
        let mut all = lock(&self.waiting);
        if let Some(waiting) = all.get_mut(&cookie) {
            let still = std::mem::take(waiting).into_iter();
            waiting.extend(still.filter_map(Waiting::unless_signalled));
        }
    }

    /// A connect is over: whoever waited for it is told.
    pub(crate) fn over(&self, cookie: u64, result: Result<(), Errno>) {
        let waiting = lock(&self.waiting).remove(&cookie);
        for waiting in waiting.into_iter().flatten() {
            waiting.tell(result);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More than any process has threads in a connect that a signal ends at once.
const MOST_UNTOLD: usize = 1024;
