//! A connect that is not decided yet.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use socket2::SockRef;

use super::place::is_multipath;
use super::table::{State, Turn};
use super::{Takeover, Target, canonical};

/// A program's connect that is not decided yet.
///
/// Dropped undecided, it fails with ECONNREFUSED.
#[derive(Debug)]
#[must_use = "an undecided connect fails when this is dropped"]
pub struct Joining {
    takeover: Takeover,
    /// A duplicate of the program's socket; none once it is decided.
    socket: Option<OwnedFd>,
    cookie: u64,
    turn: Turn,
    target: Target,
    held: bool,
}

impl Joining {
    pub(super) const fn new(
        takeover: Takeover,
        socket: OwnedFd,
        (cookie, turn): (u64, Turn),
        target: Target,
        held: bool,
    ) -> Self {
        Self {
            takeover,
            socket: Some(socket),
            cookie,
            turn,
            target,
            held,
        }
    }

    /// Whether the program's call has its answer, EINPROGRESS, and its socket is in SYN_SENT.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// What the socket has as cookie (SO_COOKIE): no other socket ever has the same.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// The address of the program's socket as the engine sees it; the port is 0 until a blocking
    /// socket is connected.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        let bound = self.socket.as_ref().and_then(|socket| {
            let address = SockRef::from(socket).local_addr().ok()?;
            canonical(&address).ok()
        });
        let loopback = SocketAddr::new(self.target.family.loopback(), 0);
        bound
            .filter(|b| !b.ip().is_unspecified())
            .unwrap_or(loopback)
    }

    /// The program's socket.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        let socket = self.socket.as_ref();
        socket.expect("it is here until it is decided").as_fd()
    }

    /// Connects the program's socket to the engine and gives the engine's end, which is
    /// nonblocking, and reset when it is closed (SO_LINGER 0) until somebody says otherwise.
    ///
    /// A call that waited succeeds; whoever holds it answers it.
    ///
    /// # Errors
    /// The program has closed, disconnected or connected the socket meanwhile (ECANCELED,
    /// ECONNABORTED, EISCONN), or the kernel has no socket for us. The connect has failed then.
    pub fn complete(mut self) -> io::Result<TcpStream> {
        let Some(socket) = self.socket.take() else {
            return Err(Errno::ECANCELED.into());
        };
        let shared = &self.takeover.0;
        let program = SockRef::from(&socket);
        let place = shared.place(self.target)?;
        if !self.proceed(self.pending(), State::Meeting { held: self.held }) {
            return Err(Errno::ECANCELED.into());
        }
        // Not under the lock of the table: it may take its time on a machine under load.
        let met = match self.held {
            true => place.hold.meet(&program),
            false => place.connect(&program, self.target),
        };
        let mut table = shared.table();
        match (table.at(self.cookie, self.turn), met) {
            (None, met) => {
                // The program has disconnected it meanwhile, perhaps before it was connected.
                if met.is_ok() && table.state(self.cookie).is_none() {
                    let _ = crate::sys::socket::disconnect(socket.as_fd());
                }
                Err(Errno::ECANCELED.into())
            }
            (Some(state), Ok(stream)) => {
                // The call that waited tells the program; a held one has not been told, unless it
                // has seen its socket connected and asked before us.
                if state == (State::Meeting { held: self.held }) {
                    table.set(self.cookie, State::Joined { seen: !self.held });
                }
                Ok(stream)
            }
            (Some(_), Err(error)) => {
                self.refuse(&mut table, &socket, Errno::ECONNREFUSED);
                Err(error)
            }
        }
    }

    /// Ends the call that waits without ending the connect, as SO_SNDTIMEO does: from here on the
    /// socket is held, and whoever holds the call answers EINPROGRESS.
    ///
    /// # Errors
    /// The socket cannot be held (EACCES for one of Multipath TCP), or the program has disconnected
    /// it meanwhile.
    pub fn hold(&mut self) -> Result<(), Errno> {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.held) else {
            return Ok(());
        };
        let program = SockRef::from(socket);
        if is_multipath(&program) {
            return Err(Errno::EACCES);
        }
        let shared = &self.takeover.0;
        let mut table = shared.table();
        if table.at(self.cookie, self.turn) != Some(self.pending()) {
            return Err(Errno::ECANCELED);
        }
        shared.place(self.target)?.hold(&program, self.target)?;
        table.set(self.cookie, State::Pending { held: true });
        drop(table);
        self.held = true;
        Ok(())
    }

    /// Fails the connect: the program's socket wakes, and says why when it is asked.
    ///
    /// A call that waited gets the error from whoever holds it.
    pub fn fail(mut self, errno: Errno) {
        self.end(errno);
    }

    /// Gives the socket up, undecided and as it was: another way to connect it is taken.
    ///
    /// Only for one that is not held.
    pub fn abandon(mut self) -> Option<OwnedFd> {
        let mut table = self.takeover.0.table();
        if table.at(self.cookie, self.turn).is_some() {
            table.forget(self.cookie);
        }
        drop(table);
        self.socket.take()
    }

    fn end(&mut self, errno: Errno) {
        if let Some(socket) = self.socket.take() {
            let mut table = self.takeover.0.table();
            self.refuse(&mut table, &socket, errno);
        }
    }

    fn refuse(&self, table: &mut super::Table, socket: &OwnedFd, errno: Errno) {
        match table.at(self.cookie, self.turn) {
            // Whoever forgets a socket that is held disconnects it.
            None => {}
            Some(_) if self.held => {
                table.set(self.cookie, State::Failed(errno));
                // A socket that is gone wakes nobody.
                let _ = crate::sys::socket::disconnect(socket.as_fd());
            }
            Some(_) => table.forget(self.cookie),
        }
    }

    const fn pending(&self) -> State {
        State::Pending { held: self.held }
    }

    /// Changes the state, where it is what it should be.
    fn proceed(&self, from: State, to: State) -> bool {
        let mut table = self.takeover.0.table();
        let expected = table.at(self.cookie, self.turn) == Some(from);
        if expected {
            table.set(self.cookie, to);
        }
        expected
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.end(Errno::ECONNREFUSED);
    }
}
