//! Questions to the engine: a connection of its own for each.

use core::ffi::c_int;

use crate::settings::Settings;
use crate::sys::{self, EAGAIN, ECONNREFUSED, EINTR, Errno, Fd, call, number};
use crate::wire::{REPLY, REQUEST, Reply, Request};

/// A question on its way.
pub struct Question(Fd);

/// How a wait for an answer ended.
pub enum Waited {
    /// The answer.
    Reply(Reply),
    /// A signal came, or the time is up.
    Interrupted(c_int),
    /// There is no engine any more.
    Gone,
}

impl Question {
    /// Asks, and hands over a duplicate of a socket.
    ///
    /// Whoever reads /proc/net/unix knows the name, and can take it when the engine is gone: only
    /// one that runs as root, or as this user, is asked.
    ///
    /// # Errors
    /// There is no engine, or no descriptor is left.
    pub fn ask(
        settings: &Settings,
        request: &Request,
        name: &[u8],
        socket: Option<c_int>,
    ) -> Result<Self, Errno> {
        let control = settings.control.as_bytes();
        let mut address = [0_u8; 110];
        address[0] = AF_UNIX as u8;
        for (place, byte) in address[3..].iter_mut().zip(control) {
            *place = *byte;
        }
        let fd = open()?;
        let length = 3 + control.len();
        let args = [fd.0 as usize, address.as_ptr() as usize, length, 0, 0, 0];
        // SAFETY: the address lives through the call.
        retried(|| unsafe { call(number::CONNECT, args) })?;
        if !is_trusted(&fd) {
            return Err(Errno(ECONNREFUSED));
        }
        let question = Self(fd);
        question.send(request, name, socket)?;
        Ok(question)
    }

    /// Says one thing more.
    ///
    /// # Errors
    /// There is no engine any more.
    pub fn say(&self, request: &Request) -> Result<(), Errno> {
        self.send(request, &[], None)
    }

    /// Waits no longer than this for an answer (`struct timeval`).
    pub fn limit(&self, time: [i64; 2]) {
        // SAFETY: the option is such a structure.
        let _ = unsafe { sys::set_option(self.0.0, SOL_SOCKET, SO_RCVTIMEO, time) };
    }

    /// Waits for an answer.
    pub fn wait(&self) -> Waited {
        let mut bytes = [0; REPLY];
        let mut got = 0;
        while got < REPLY {
            let place = bytes.as_mut_ptr() as usize + got;
            let args = [self.0.0 as usize, place, REPLY - got, 0, 0, 0];
            // SAFETY: the rest of the place is as long as that.
            match unsafe { call(number::RECVFROM, args) } {
                Ok(0) => return Waited::Gone,
                Ok(count) => got += count,
                Err(Errno(errno @ (EINTR | EAGAIN))) if got == 0 => {
                    return Waited::Interrupted(errno);
                }
                Err(Errno(EINTR | EAGAIN)) => {}
                Err(_) => return Waited::Gone,
            }
        }
        Reply::decode(&bytes).map_or(Waited::Gone, Waited::Reply)
    }

    /// Waits for an answer, whatever signal comes.
    pub fn answer(&self) -> Option<Reply> {
        loop {
            match self.wait() {
                Waited::Reply(reply) => return Some(reply),
                Waited::Interrupted(_) => {}
                Waited::Gone => return None,
            }
        }
    }

    fn send(&self, request: &Request, name: &[u8], socket: Option<c_int>) -> Result<(), Errno> {
        let bytes = request.encode();
        let parts = [
            Part {
                start: bytes.as_ptr(),
                length: REQUEST,
            },
            Part {
                start: name.as_ptr(),
                length: name.len(),
            },
        ];
        let rights = Rights {
            length: size_of::<usize>() + 3 * size_of::<c_int>(),
            level: SOL_SOCKET,
            kind: SCM_RIGHTS,
            fd: socket.unwrap_or(-1),
            _end: 0,
        };
        let message = Message {
            name: 0,
            name_length: 0,
            parts: parts.as_ptr(),
            count: if name.is_empty() { 1 } else { 2 },
            control: if socket.is_some() {
                &raw const rights
            } else {
                core::ptr::null()
            },
            control_length: if socket.is_some() {
                size_of::<Rights>()
            } else {
                0
            },
            flags: 0,
        };
        let message = (&raw const message) as usize;
        let args = [self.0.0 as usize, message, MSG_NOSIGNAL, 0, 0, 0];
        // A few bytes into an empty socket: all or nothing.
        // SAFETY: everything that the message leads to lives through the call.
        retried(|| unsafe { call(number::SENDMSG, args) }).map(drop)
    }
}

/// A stream socket that is none of the standard streams, which a program may have closed.
fn open() -> Result<Fd, Errno> {
    let args = [AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0, 0];
    // SAFETY: it makes a descriptor.
    let fd = Fd(unsafe { call(number::SOCKET, args)? } as c_int);
    if fd.0 > 2 {
        return Ok(fd);
    }
    let args = [fd.0 as usize, F_DUPFD_CLOEXEC, 3, 0, 0, 0];
    // SAFETY: it makes a descriptor.
    unsafe { call(number::FCNTL, args) }.map(|fd| Fd(fd as c_int))
}

/// Whether whoever listens is root's or this user's.
///
/// In a user namespace, users that it has no number for are all the overflow uid (65534, or
/// `kernel.overflowuid`), the caller too where it has none itself: what is equal then tells nothing.
fn is_trusted(fd: &Fd) -> bool {
    // SAFETY: the option is `struct ucred`: process, user, group.
    let Ok([_, user, _]) = (unsafe { sys::option::<[u32; 3]>(fd.0, SOL_SOCKET, SO_PEERCRED) })
    else {
        return false;
    };
    if user == 0 {
        return true;
    }
    // SAFETY: it changes nothing and never fails.
    let own = unsafe { call(number::GETEUID, [0; 6]) };
    own == Ok(user as usize) && (user != OVERFLOW || has_numbers())
}

/// Whether this user namespace has numbers of its own (user_namespaces(7)).
fn has_numbers() -> bool {
    let path = c"/proc/self/uid_map".as_ptr() as usize;
    let here = crate::program::AT_FDCWD as usize;
    let args = [here, path, SOCK_CLOEXEC, 0, 0, 0];
    // SAFETY: a path.
    let Ok(map) = (unsafe { call(number::OPENAT, args) }) else {
        return false;
    };
    let map = Fd(map as c_int);
    let mut byte = 0_u8;
    let args = [map.0 as usize, (&raw mut byte) as usize, 1, 0, 0, 0];
    // SAFETY: a place for the byte.
    (unsafe { call(number::PREAD, args) }) == Ok(1)
}

fn retried(mut work: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match work() {
            Err(Errno(sys::EINTR)) => {}
            other => return other,
        }
    }
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    start: *const u8,
    length: usize,
}

/// `struct msghdr` of the kernel.
#[repr(C)]
struct Message {
    name: usize,
    name_length: u32,
    parts: *const Part,
    count: usize,
    control: *const Rights,
    control_length: usize,
    flags: u32,
}

/// `struct cmsghdr` with one descriptor.
#[repr(C)]
struct Rights {
    length: usize,
    level: c_int,
    kind: c_int,
    fd: c_int,
    _end: c_int,
}

const AF_UNIX: usize = 1;
const SOCK_STREAM: usize = 1;
const SOCK_CLOEXEC: usize = 0o2_000_000;
const F_DUPFD_CLOEXEC: usize = 1030;
const MSG_NOSIGNAL: usize = 0x4000;
const SOL_SOCKET: c_int = 1;
const SO_PEERCRED: c_int = 17;
/// What the kernel says where a user has no number here; one that is set otherwise equals no
/// caller's that has one.
const OVERFLOW: u32 = 65534;
const SO_RCVTIMEO: c_int = 20;
const SCM_RIGHTS: c_int = 1;
