//! connect(2): where a program's connections are taken to the engine.

use core::ffi::c_int;

use crate::address;
use crate::control::{Question, Waited};
use crate::peer;
use crate::real;
use crate::settings::{Settings, settings};
use crate::sys::{self, ECONNREFUSED, EINPROGRESS, Errno};
use crate::wire::{Address, Ask, Reply, Request};

/// connect(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, to: *const u8, length: u32) -> c_int {
    let Some(settings) = settings() else {
        // SAFETY: as the caller says.
        return unsafe { real::connect(fd, to, length) };
    };
    // SAFETY: as the caller says.
    if unsafe { address::is_none(to, length) } {
        peer::forget(settings, fd);
    }
    // SAFETY: as the caller says.
    let destination = unsafe { address::read(to, length) };
    match destination.map_or(Way::Own, |to| way(settings, fd, &to)) {
        // SAFETY: as the caller says.
        Way::Own => unsafe { real::connect(fd, to, length) },
        Way::Refused => sys::fail(ECONNREFUSED),
        Way::Engine { domain } => {
            let before = sys::errno();
            let destination = destination.unwrap_or_default();
            match steer(settings, fd, destination, domain) {
                Done::Result(0) => {
                    sys::set_errno(before);
                    0
                }
                Done::Result(errno) => sys::fail(errno),
                // SAFETY: as the caller says.
                Done::Own => unsafe { real::connect(fd, to, length) },
            }
        }
    }
}

/// Where a destination of a socket is reached.
pub enum Way {
    /// By the program itself.
    Own,
    /// Not at all.
    Refused,
    /// By the engine.
    Engine {
        /// The socket's family.
        domain: c_int,
    },
}

/// Where this destination is reached from this socket.
pub fn way(settings: &Settings, fd: c_int, to: &Address) -> Way {
    if address::is_loopback(to) && !settings.loopback {
        return Way::Own;
    }
    let number = |name| {
        // SAFETY: these options are ints.
        unsafe { sys::option::<c_int>(fd, SOL_SOCKET, name) }
    };
    let Ok(domain) = number(SO_DOMAIN) else {
        // No socket: the kernel says so.
        return Way::Own;
    };
    if domain != address::AF_INET && domain != address::AF_INET6 {
        return Way::Own;
    }
    let kind = number(SO_TYPE);
    // The kernel refuses an address of the other family for a stream.
    let family = match to.version {
        4 => address::AF_INET,
        _ => address::AF_INET6,
    };
    if family != domain && kind == Ok(SOCK_STREAM) {
        return Way::Own;
    }
    if settings.dns && to.port == DNS {
        return Way::Own;
    }
    match (kind, number(SO_PROTOCOL)) {
        (Ok(SOCK_STREAM), Ok(IPPROTO_TCP | IPPROTO_MPTCP)) => {
            // One that connects already, or listens: the kernel knows what to say.
            // SAFETY: the first byte of the option is the state.
            if unsafe { sys::option::<u8>(fd, IPPROTO_TCP, TCP_INFO) }.is_ok_and(|s| s != TCP_CLOSE)
            {
                return Way::Own;
            }
            Way::Engine { domain }
        }
        _ if settings.datagrams => Way::Own,
        _ => Way::Refused,
    }
}

enum Done {
    /// 0, or errno.
    Result(c_int),
    /// As without us.
    Own,
}

fn steer(settings: &Settings, fd: c_int, to: Address, domain: c_int) -> Done {
    let request = Request {
        nonblocking: sys::is_nonblocking(fd),
        ..Request::new(Ask::Connect, to)
    };
    // A connect that waits for the first bytes would not reach the engine when it looks for it.
    // SAFETY: the option is an int.
    let _ = unsafe { sys::set_option::<c_int>(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0) };
    let question = match Question::ask(settings, &request, &[], Some(fd)) {
        Ok(question) => question,
        Err(Errno(ECONNREFUSED)) if settings.open => return Done::Own,
        Err(Errno(errno @ (EMFILE | ENFILE))) => return Done::Result(errno),
        Err(_) => return Done::Result(ECONNREFUSED),
    };
    if !request.nonblocking {
        // SAFETY: the option is such a structure.
        let time = unsafe { sys::option::<[i64; 2]>(fd, SOL_SOCKET, SO_SNDTIMEO) };
        if let Ok(time) = time
            && time != [0, 0]
        {
            question.limit(time);
        }
    }
    loop {
        let reply = match question.wait() {
            Waited::Reply(reply) => reply,
            Waited::Interrupted(why) => return pend(&question, why, fd, domain),
            Waited::Gone => return Done::Result(ECONNREFUSED),
        };
        match reply {
            Reply::Errno(errno) => return Done::Result(errno),
            Reply::Address(_) => return Done::Result(ECONNREFUSED),
            Reply::Own(address) => match own(fd, &address, domain) {
                result @ (0 | EINPROGRESS | sys::EINTR) => {
                    let _ = question.say(&outcome(result));
                    return Done::Result(result);
                }
                errno => {
                    if question.say(&outcome(errno)).is_err() {
                        return Done::Result(errno);
                    }
                }
            },
        }
    }
}

const fn outcome(errno: c_int) -> Request {
    let nowhere = Address {
        version: 0,
        port: 0,
        scope: 0,
        ip: [0; 16],
    };
    Request {
        errno,
        ..Request::new(Ask::Outcome, nowhere)
    }
}

/// The program waits no longer: the connection goes on without it, as the kernel has it.
fn pend(question: &Question, why: c_int, fd: c_int, domain: c_int) -> Done {
    if question
        .say(&Request::new(Ask::Pend, Address::default()))
        .is_err()
    {
        return Done::Result(ECONNREFUSED);
    }
    loop {
        return match question.answer() {
            Some(Reply::Errno(EINPROGRESS)) if why == sys::EINTR => Done::Result(sys::EINTR),
            Some(Reply::Errno(errno)) => Done::Result(errno),
            // It was said before the engine heard that nobody waits: the program connects.
            Some(Reply::Own(address)) => {
                let result = own(fd, &address, domain);
                let told = question.say(&outcome(result));
                match result {
                    0 | EINPROGRESS | sys::EINTR => Done::Result(result),
                    _ if told.is_ok() => continue,
                    errno => Done::Result(errno),
                }
            }
            Some(Reply::Address(_)) | None => Done::Result(ECONNREFUSED),
        };
    }
}

/// Connects past the engine; 0 or errno.
fn own(fd: c_int, to: &Address, domain: c_int) -> c_int {
    let Some((bytes, length)) = address::write(to, domain) else {
        return ENETUNREACH;
    };
    // SAFETY: the address lives through the call.
    match unsafe { real::connect(fd, bytes.as_ptr(), length) } {
        0 => 0,
        _ => sys::errno(),
    }
}

pub const SOL_SOCKET: c_int = 1;
pub const SO_TYPE: c_int = 3;
const SO_SNDTIMEO: c_int = 21;
pub const SO_PROTOCOL: c_int = 38;
pub const SO_DOMAIN: c_int = 39;
pub const SOCK_STREAM: c_int = 1;
pub const IPPROTO_TCP: c_int = 6;
pub const IPPROTO_MPTCP: c_int = 262;
pub const TCP_INFO: c_int = 11;
const TCP_FASTOPEN_CONNECT: c_int = 30;
pub const TCP_CLOSE: u8 = 7;
/// The port of DNS.
pub const DNS: u16 = 53;
const EMFILE: c_int = 24;
const ENFILE: c_int = 23;
const ENETUNREACH: c_int = 101;
