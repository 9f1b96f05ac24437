//! Joining a program's own TCP socket to the engine: the program called connect(2), and somebody
//! (a supervisor, a shim) has a duplicate of its socket.
//!
//! ```text
//! begin ─┬─ nonblocking: hold ── SYN that nobody answers; the program gets EINPROGRESS ─┐
//!        └─ blocking: the program waits in its call ────────────────────────────────────┤
//!                                                                                       v
//!        engine's stream <── place: meet (hold), or desk <────── complete ── Joining ── fail(errno)
//!                                                                               │        │
//!        connect again, SO_ERROR, getpeername ── asked ──> Table <──────────────┴────────┘
//! ```
//!
//! While an engine dials, a nonblocking socket is really in SYN_SENT: poll, select and epoll show
//! what they would show. It has sent its SYN to a loopback listener of ours whose filter drops it.
//! It becomes connected when a socket of ours, bound to the listener's port, connects to it in
//! turn (a simultaneous open, RFC 9293 section 3.5), and fails when it is disconnected. The kernel
//! then has ECONNRESET for it, whatever the reason was: [`Takeover::error`] knows the true one.
//!
//! A blocking socket is connected in the same way when the engine is ready, and stays as it was
//! when it is not. One of Multipath TCP, whose SYNs cannot meet, goes to a listener of its own.

mod desk;
mod hold;
mod joining;
mod maker;
mod place;
mod table;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use steer_core::address::Family;
use steer_core::netns::MakeSockets;

pub use joining::Joining;
use maker::Maker;
use place::{Place, is_multipath};
pub use table::Again;
use table::{State, Table};

/// Joins sockets of programs to the engine, in the network namespace in which it was opened.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::SocketAddr;
/// use socket2::{Domain, Socket, Type};
/// use steer_kernel::takeover::Takeover;
///
/// let takeover = Takeover::open()?;
/// let program = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
/// let wanted: SocketAddr = "203.0.113.7:443".parse().unwrap();
/// let joining = takeover.begin(program.try_clone()?.into(), wanted)?;
/// // The program has EINPROGRESS, and the engine dials.
/// let mut engine = joining.complete()?;
/// engine.write_all(b"hello")?;
/// program.set_nonblocking(false)?;
/// let mut said = [0; 5];
/// (&program).read_exact(&mut said)?;
/// assert_eq!(takeover.peer(&program), Some(wanted));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Takeover(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Vec<Place>,
    /// What the kernel says of sockets in this namespace.
    namespace: u64,
    table: Mutex<Table>,
}

/// What is known of how a socket's connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The kernel's own answer is right.
    Kernel,
    /// This, in the place of what the kernel says, which has been taken from it.
    Error(Errno),
    /// Nothing before the engine is done: a blocking connect goes on, whose call a signal ended.
    Wait,
}

impl Takeover {
    /// Opens the listeners, for every family that has a loopback address here.
    ///
    /// # Errors
    /// No family has one, or a socket cannot be made.
    pub fn open() -> io::Result<Self> {
        Self::by(&Maker(None))
    }

    /// As [`Takeover::open`], in the network namespace in which these sockets are made.
    ///
    /// # Errors
    /// No family has a loopback address there, or a socket cannot be made.
    pub fn open_inside(sockets: Arc<dyn MakeSockets>) -> io::Result<Self> {
        Self::by(&Maker(Some(sockets)))
    }

    fn by(maker: &Maker) -> io::Result<Self> {
        let mut places = Vec::new();
        let mut last = None;
        for family in Family::ALL {
            match Place::open(maker, family) {
                Ok(place) => places.push(place),
                Err(error) => last = Some(error),
            }
        }
        let Some(place) = places.first() else {
            return Err(last.unwrap_or_else(|| Errno::EAFNOSUPPORT.into()));
        };
        let namespace = place.hold.namespace();
        Ok(Self(Arc::new(Shared {
            places,
            namespace,
            table: Mutex::default(),
        })))
    }

    /// Begins to connect the program's socket to the engine in the place of `wanted`, of which
    /// `socket` is a duplicate.
    ///
    /// A nonblocking socket is held ([`Joining::is_held`]): its call gets EINPROGRESS at once. A
    /// blocking one is as it was until [`Joining::complete`], and its call waits so long.
    ///
    /// Ask [`Takeover::again`] first, which knows of earlier calls.
    ///
    /// # Errors
    /// What the program's call shall fail with: what the kernel says of the socket, ENETUNREACH for
    /// a family that cannot be, EACCES for a socket that is bound to a device or of another
    /// network namespace, and for a nonblocking one of Multipath TCP.
    pub fn begin(&self, socket: OwnedFd, wanted: SocketAddr) -> Result<Joining, Errno> {
        let program = SockRef::from(&socket);
        let cookie = program.cookie().map_err(|e| errno(&e))?;
        if !self.is_ours(socket.as_fd()) || is_bound_to_a_device(&program) {
            return Err(Errno::EACCES);
        }
        if program.peer_addr().is_ok() || program.is_listener().map_err(|e| errno(&e))? {
            return Err(Errno::EISCONN);
        }
        let target = self.0.target(&program, wanted)?;
        let held = program.nonblocking().map_err(|e| errno(&e))?;
        if held && is_multipath(&program) {
            return Err(Errno::EACCES);
        }
        // TCP Fast Open would have connect(2) succeed at once, before any SYN.
        let _ = setsockopt(&socket, sockopt::TcpFastOpenConnect, &false);
        let place = self.0.place(target)?;
        let mut table = self.0.table();
        if held {
            place.hold(&program, target)?;
        }
        let turn = table.enter(cookie, State::Pending { held }, wanted);
        drop(table);
        let connect = (cookie, turn);
        Ok(Joining::new(self.clone(), socket, connect, target, held))
    }

    /// What another connect(2) of the socket gets.
    pub fn again(&self, socket: impl AsFd) -> Again {
        let program = SockRef::from(&socket);
        let Ok(cookie) = program.cookie() else {
            return Again::New;
        };
        let mut table = self.0.table();
        match table.state(cookie) {
            None => Again::New,
            Some(State::Pending { held: false } | State::Meeting { held: false }) => Again::Wait,
            // As fast as the program sees it can the engine not be noted.
            Some(State::Meeting { held: true }) if program.peer_addr().is_ok() => {
                table.set(cookie, State::Joined { seen: true });
                Again::Answer(Ok(()))
            }
            Some(State::Pending { held: true } | State::Meeting { held: true }) => {
                match program.nonblocking() {
                    Ok(false) => Again::Wait,
                    _ => Again::Answer(Err(Errno::EALREADY)),
                }
            }
            Some(State::Failed(errno)) => {
                table.forget(cookie);
                let _ = program.take_error();
                Again::Answer(Err(errno))
            }
            Some(State::Told) => {
                table.forget(cookie);
                Again::Answer(Err(Errno::ECONNABORTED))
            }
            Some(State::Joined { seen: false }) => {
                table.set(cookie, State::Joined { seen: true });
                Again::Answer(Ok(()))
            }
            Some(State::Joined { seen: true }) => match program.peer_addr() {
                Ok(_) => Again::Answer(Err(Errno::EISCONN)),
                // It was disconnected since.
                Err(_) => {
                    table.forget(cookie);
                    Again::New
                }
            },
        }
    }

    /// What getsockopt(2) of SO_ERROR gets.
    pub fn error(&self, socket: impl AsFd) -> Told {
        let program = SockRef::from(&socket);
        let Ok(cookie) = program.cookie() else {
            return Told::Kernel;
        };
        let mut table = self.0.table();
        match table.state(cookie) {
            Some(State::Pending { held: false } | State::Meeting { held: false }) => Told::Wait,
            Some(State::Failed(errno)) => {
                table.set(cookie, State::Told);
                let _ = program.take_error();
                Told::Error(errno)
            }
            None
            | Some(
                State::Pending { held: true }
                | State::Meeting { held: true }
                | State::Joined { .. }
                | State::Told,
            ) => Told::Kernel,
        }
    }

    /// The peer that the program asked for, of a socket that is connected to the engine.
    pub fn peer(&self, socket: impl AsFd) -> Option<SocketAddr> {
        let program = SockRef::from(&socket);
        let cookie = program.cookie().ok()?;
        let asked = self.0.table().asked(cookie)?;
        program.peer_addr().is_ok().then_some(asked)
    }

    /// Forgets the socket: the program disconnects it (AF_UNSPEC). What is pending fails with
    /// ECANCELED when it ends.
    pub fn forget(&self, socket: impl AsFd) {
        let program = SockRef::from(&socket);
        let Ok(cookie) = program.cookie() else {
            return;
        };
        let mut table = self.0.table();
        // Nobody else knows of it any more.
        if let Some(State::Pending { held: true } | State::Meeting { held: true }) =
            table.state(cookie)
        {
            let _ = crate::sys::socket::disconnect(socket.as_fd());
        }
        table.forget(cookie);
    }

    /// Whether nothing is known of any socket: the kernel's own answers are right for all.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.table().is_empty()
    }

    /// A blocking connect that was completed did not get its answer, because a signal ended the
    /// call: the next one gets it. The socket is told by [`Joining::cookie`].
    pub fn untold(&self, cookie: u64) {
        let mut table = self.0.table();
        if let Some(State::Joined { .. }) = table.state(cookie) {
            table.set(cookie, State::Joined { seen: false });
        }
    }

    /// The answer of [`Takeover::error`] did not reach its call: the next one gets it.
    pub fn unasked(&self, socket: impl AsFd, errno: Errno) {
        if let Ok(cookie) = SockRef::from(&socket).cookie() {
            let mut table = self.0.table();
            if table.state(cookie) == Some(State::Told) {
                table.set(cookie, State::Failed(errno));
            }
        }
    }

    /// Whether a socket is of the network namespace in which this was opened.
    ///
    /// A kernel that cannot tell (before 5.14) is taken for one that says yes: a connect within
    /// another namespace then fails, and nothing goes direct.
    #[must_use]
    pub fn is_ours(&self, socket: BorrowedFd<'_>) -> bool {
        match crate::sys::socket::namespace(socket) {
            Ok(namespace) => namespace == self.0.namespace,
            Err(_) => true,
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, target: Target) -> Result<&Place, Errno> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.family == target.family);
        place.ok_or(Errno::ENETUNREACH)
    }

    /// Where a socket is connected to in the place of `wanted`.
    fn target(&self, program: &SockRef<'_>, wanted: SocketAddr) -> Result<Target, Errno> {
        let has = |family| self.places.iter().any(|place| place.family == family);
        let of_v6 = program.domain().map_err(|e| errno(&e))? == socket2::Domain::IPV6;
        if !of_v6 {
            return Ok(Target::new(Family::V4, false));
        }
        let mapped = matches!(wanted.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        match (program.only_v6().map_err(|e| errno(&e))?, mapped) {
            (true, true) => Err(Errno::ENETUNREACH),
            (false, true) => Ok(Target::new(Family::V4, true)),
            // Where loopback has no IPv6, its sockets speak IPv4 to us.
            (false, false) if !has(Family::V6) => Ok(Target::new(Family::V4, true)),
            (_, false) => Ok(Target::new(Family::V6, false)),
        }
    }
}

/// A listener's family, and whether the program's socket reaches it by a mapped address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    family: Family,
    mapped: bool,
}

impl Target {
    const fn new(family: Family, mapped: bool) -> Self {
        Self { family, mapped }
    }

    /// The loopback address as the program's socket takes it.
    fn address(self, port: u16) -> SocketAddr {
        let ip = match self {
            Self { mapped: true, .. } => IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
            Self { family, .. } => match family {
                Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
                Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            },
        };
        SocketAddr::new(ip, port)
    }
}

/// Another device than loopback never carries what is for us.
fn is_bound_to_a_device(program: &SockRef<'_>) -> bool {
    matches!(program.device(), Ok(Some(device)) if device != b"lo")
}

/// An address of a program's socket in the family of the listener.
fn canonical(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    let address = address.as_socket().ok_or(Errno::EAFNOSUPPORT)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

#[cfg(test)]
mod tests;
