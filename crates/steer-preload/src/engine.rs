//! What all questions of one steering share.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use socket2::SockRef;
use steer_core::intent::{Intent, Relay};
use steer_core::netns::MakeSockets;
use steer_core::steered::Steered;
use steer_kernel::takeover::{Again, Takeover, Told};
use tokio::sync::{Notify, mpsc};

use crate::names::Names;
use crate::scope::Scope;

/// What all questions of one steering share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) takeover: Takeover,
    pub(crate) names: Option<Names>,
    pub(crate) scope: Scope,
    /// Which connections are relayed, whatever becomes of them.
    pub(crate) relay: Relay,
    /// Whether the program's file is asked for.
    pub(crate) identify: bool,
    /// Connections on their way to whoever consumes the intake.
    pub(crate) steered_tx: mpsc::Sender<Steered>,
    /// Told whenever a connect is decided.
    decided: Notify,
    /// Connects that failed after the program's call had ended by a signal.
    failed: Mutex<Failed>,
}

/// The errors of sockets, by cookie (SO_COOKIE).
#[derive(Debug, Default)]
struct Failed {
    errors: HashMap<u64, Errno>,
    order: VecDeque<u64>,
}

impl Engine {
    pub(crate) fn open(
        intent: &Intent,
        inside: Option<Arc<dyn MakeSockets>>,
        steered_tx: mpsc::Sender<Steered>,
    ) -> io::Result<Self> {
        // In namespaces of its own a program gets nowhere by itself.
        let relay = match inside {
            Some(_) => Relay::Always,
            None => intent.relays(),
        };
        let takeover = match inside {
            Some(inside) => Takeover::open_inside(inside)?,
            None => Takeover::open()?,
        };
        Ok(Self {
            takeover,
            names: Names::of(intent),
            scope: Scope::of(&intent.traffic),
            relay,
            identify: intent.identify,
            steered_tx,
            decided: Notify::new(),
            failed: Mutex::default(),
        })
    }

    /// A connect was decided: whoever waits for it looks again.
    pub(crate) fn decide(&self) {
        self.decided.notify_waiters();
    }

    /// Keeps why a connect failed, for the program to ask.
    pub(crate) fn keep_failure(&self, cookie: u64, errno: Errno) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Failed { errors, order } = &mut *failed;
        if errors.insert(cookie, errno).is_none() {
            order.push_back(cookie);
        }
        if order.len() > MOST_FAILED
            && let Some(oldest) = order.pop_front()
        {
            errors.remove(&oldest);
        }
    }

    fn take_failure(&self, socket: impl AsFd) -> Option<Errno> {
        let cookie = SockRef::from(&socket).cookie().ok()?;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.errors.remove(&cookie)
    }

    /// What a connect of this socket gets because of earlier ones; nothing where it is the first.
    pub(crate) async fn earlier(&self, socket: impl AsFd) -> Option<Result<(), Errno>> {
        loop {
            let decided = self.decided.notified();
            match self.takeover.again(&socket) {
                Again::New => return self.take_failure(&socket).map(Err),
                Again::Answer(answer) => return Some(answer),
                Again::Wait => decided.await,
            }
        }
    }

    /// Why a connect of this socket failed; nothing where the kernel tells the truth.
    pub(crate) async fn failure(&self, socket: impl AsFd) -> Option<Errno> {
        loop {
            let decided = self.decided.notified();
            match self.takeover.error(&socket) {
                Told::Kernel => return self.take_failure(&socket),
                Told::Error(errno) => return Some(errno),
                Told::Wait => decided.await,
            }
        }
    }

    /// The program disconnects the socket.
    pub(crate) fn forget(&self, socket: impl AsFd) {
        self.take_failure(&socket);
        self.takeover.forget(&socket);
    }
}

/// The most failures that are remembered.
const MOST_FAILED: usize = 4096;
