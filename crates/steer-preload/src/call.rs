//! A connect of a program, from its question to its answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use socket2::SockRef;
use steer_core::intent::Relay;
use steer_kernel::takeover::Joining;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::engine::Engine;
use crate::line::Line;
use crate::wire::{Ask, Reply};
use crate::{address, holder, line};

/// A connect of a program that the engine decides.
#[derive(Debug)]
pub(crate) struct Call {
    engine: Arc<Engine>,
    line: Line,
    wanted: SocketAddr,
    cookie: u64,
    state: Mutex<State>,
    /// How connections that the program made itself went.
    outcome_tx: mpsc::UnboundedSender<Errno>,
    /// Told when nobody is left who waits for the connection.
    gone: Notify,
    /// Told when it is decided.
    decided: Notify,
}

/// How far it is.
#[derive(Debug)]
struct State {
    socket: Socket,
    /// Whether the program's call has had its answer.
    answered: bool,
    /// Whether its call ended by a signal, or because its time was up.
    pended: bool,
    /// Whether the program is to connect by itself.
    handing_over: bool,
}

/// The program's socket.
#[derive(Debug)]
enum Socket {
    /// As the program made it.
    Untouched(OwnedFd),
    /// On its way to the engine.
    Joining(Joining),
    /// Decided.
    Gone,
}

impl Call {
    /// Begins. What the program waits for is begun at once, unless it may still get a connection of
    /// its own, which a nonblocking socket can no longer have then.
    pub(crate) fn begin(
        engine: &Arc<Engine>,
        line: Line,
        socket: OwnedFd,
        wanted: SocketAddr,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Errno>), (Line, Errno)> {
        let program = SockRef::from(&socket);
        let facts = program
            .cookie()
            .and_then(|c| Ok((c, program.nonblocking()?)));
        let Ok((cookie, nonblocking)) = facts else {
            return Err((line, Errno::EBADF));
        };
        let (outcome_tx, outcome_rx) = mpsc::unbounded_channel();
        let call = Arc::new(Self {
            engine: Arc::clone(engine),
            line,
            wanted,
            cookie,
            state: Mutex::new(State {
                socket: Socket::Untouched(socket),
                answered: false,
                pended: false,
                handing_over: false,
            }),
            outcome_tx,
            gone: Notify::new(),
            decided: Notify::new(),
        });
        if !nonblocking || engine.relay == Relay::Always {
            // The program is told what is wrong, and the engine hears nothing of it.
            if call.start(&mut call.state()).is_err() {
                return Ok((call, outcome_rx));
            }
        }
        Ok((call, outcome_rx))
    }

    /// Whether there is anything left to decide.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state().socket, Socket::Gone)
    }

    /// Where it comes from, as far as that is known.
    pub(crate) fn client(&self) -> SocketAddr {
        match &self.state().socket {
            Socket::Joining(joining) => joining.local(),
            Socket::Untouched(_) | Socket::Gone => (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// Listens to what the program says meanwhile, until it is decided, or the program, which is
    /// this process, is gone.
    pub(crate) async fn attend(&self, process: Option<u32>) {
        while let Ok(Some(heard)) = self.line.hear().await {
            match heard.request.ask {
                Ask::Outcome => {
                    let errno = Errno::from_raw(heard.request.errno);
                    // Whoever handed over may have gone.
                    let _ = self.outcome_tx.send(errno);
                }
                Ask::Pend => self.pend(),
                _ => break,
            }
        }
        if let Some(socket) = self.left_behind() {
            tokio::select! {
                () = self.decided.notified() => return,
                () = holder::gone(socket, process) => {}
            }
        }
        let mut state = self.state();
        if state.handing_over {
            // Whoever waits for an outcome that does not come.
            let _ = self.outcome_tx.send(Errno::ECANCELED);
            return;
        }
        if matches!(state.socket, Socket::Gone) {
            return;
        }
        // The program is gone, or nothing that we know.
        state.socket = Socket::Gone;
        drop(state);
        self.decide();
        self.gone.notify_one();
    }

    /// The number of the socket, where its call has ended and its connection is on the way.
    fn left_behind(&self) -> Option<u64> {
        let state = self.state();
        match &state.socket {
            Socket::Joining(joining) if state.answered => holder::inode(joining.socket()),
            _ => None,
        }
    }

    /// Ends when nobody is left who waits for the connection.
    pub(crate) async fn gone(&self) {
        self.gone.notified().await;
    }

    fn decide(&self) {
        self.decided.notify_one();
        self.engine.decide();
    }

    /// The program's call ends, and its connection is made in the background.
    fn pend(&self) {
        let mut state = self.state();
        if !state.answered && !state.handing_over {
            state.pended = true;
            self.answer(&mut state, Errno::EINPROGRESS);
        }
    }

    /// Has the socket wait for the engine.
    fn start(&self, state: &mut State) -> Result<(), Errno> {
        match std::mem::replace(&mut state.socket, Socket::Gone) {
            Socket::Untouched(socket) => match self.engine.takeover.begin(socket, self.wanted) {
                Ok(joining) => {
                    let held = joining.is_held();
                    state.socket = Socket::Joining(joining);
                    if held {
                        self.answer(state, Errno::EINPROGRESS);
                    }
                    Ok(())
                }
                Err(errno) => {
                    self.answer(state, errno);
                    Err(errno)
                }
            },
            Socket::Joining(joining) => {
                state.socket = Socket::Joining(joining);
                Ok(())
            }
            Socket::Gone => Err(Errno::ECANCELED),
        }
    }

    /// The engine dials.
    pub(crate) fn dialling(&self) -> io::Result<()> {
        Ok(self.start(&mut self.state())?)
    }

    /// The engine is connected: gives its end of the program's connection.
    pub(crate) fn connected(&self) -> io::Result<TcpStream> {
        let mut state = self.state();
        self.start(&mut state)?;
        let Socket::Joining(joining) = std::mem::replace(&mut state.socket, Socket::Gone) else {
            return Err(Errno::ECANCELED.into());
        };
        let joined = joining.complete();
        let errno = joined.as_ref().err().map(line::errno);
        self.answer(&mut state, errno.unwrap_or(Errno::from_raw(0)));
        drop(state);
        self.decide();
        TcpStream::from_std(joined?)
    }

    /// There is no connection.
    pub(crate) fn failed(&self, errno: Errno) {
        let mut state = self.state();
        match std::mem::replace(&mut state.socket, Socket::Gone) {
            Socket::Joining(joining) => joining.fail(errno),
            Socket::Untouched(_) => {}
            Socket::Gone => return self.answer(&mut state, errno),
        }
        if state.pended {
            self.engine.keep_failure(self.cookie, errno);
        }
        self.answer(&mut state, errno);
        drop(state);
        self.decide();
    }

    /// Whether the program can still be given a connection of its own; from then on it is not taken
    /// to the engine meanwhile.
    pub(crate) fn can_hand_over(&self) -> bool {
        let mut state = self.state();
        let open = !state.answered && !matches!(state.socket, Socket::Gone);
        state.handing_over = open && self.engine.relay == Relay::Needed;
        state.handing_over
    }

    /// Has the program connect by itself; its socket is its own again.
    pub(crate) fn own(&self, to: SocketAddr) -> io::Result<()> {
        let mut state = self.state();
        if let Socket::Joining(joining) = std::mem::replace(&mut state.socket, Socket::Gone) {
            joining.abandon();
        }
        drop(state);
        self.decide();
        self.line.say(Reply::Own(address::to_wire(to)))
    }

    /// No connection that the program made itself came to be.
    pub(crate) fn not_own(&self, errno: Errno) {
        self.answer(&mut self.state(), errno);
    }

    /// Answers the program's call, once.
    fn answer(&self, state: &mut State, errno: Errno) {
        if !state.answered {
            state.answered = true;
            // A program that is gone needs none.
            let _ = self.line.say(Reply::Errno(errno as i32));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
