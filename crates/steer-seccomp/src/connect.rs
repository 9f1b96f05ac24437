//! connect(2).

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use socket2::SockRef;
use steer_core::address::{ClientAddr, Destination, Protocol, canonical};
use steer_core::method::Method;
use steer_core::steered::{Flow, Steered};
use steer_kernel::takeover::Again;

use crate::call::{Asked, Kind};
use crate::holders::Holders;
use crate::joining::Join;
use crate::memory;
use crate::name::{Meaning, Name};
use crate::office::{Office, lock};
use crate::send::UNREACHABLE;
use crate::sys;
use crate::traffic::{Verdict, verdict};
use crate::waiting::Waiting;

/// Lets it pass, refuses it, or brings it to the engine.
pub(crate) fn connect(office: &Arc<Office>, asked: Asked) {
    let Ok(length) = u32::try_from(asked.int(2)) else {
        return asked.notice.go_on();
    };
    let name = match memory::name(asked.process, asked.args[1], length) {
        Ok(name) => name,
        Err(errno @ (Errno::EFAULT | Errno::EINVAL)) => return unread(asked, errno),
        Err(_) => return hidden(office, asked),
    };
    let to = match name.meaning() {
        Meaning::Other => return asked.notice.go_on(),
        Meaning::Unspecified => {
            if !office.takeover.is_idle()
                && let Ok(socket) = asked.socket()
            {
                office.takeover.forget(&socket);
            }
            return asked.notice.go_on();
        }
        Meaning::Inet(to) => to,
    };
    let socket = match asked.socket() {
        Ok(socket) => socket,
        Err(Errno::EPERM | Errno::ENOSYS) => return hidden(office, asked),
        // No such descriptor: the kernel says so.
        Err(_) => return asked.notice.go_on(),
    };
    match Kind::of(&socket) {
        Kind::Other => asked.notice.go_on(),
        Kind::Tcp => tcp(office, asked, socket, &name, to),
        Kind::Udp => match verdict(&office.traffic, Some(Protocol::Udp), to) {
            Verdict::Leave => own(asked, &socket, &name),
            Verdict::Steer | Verdict::Refuse => mute(asked, &socket, &name),
        },
        Kind::Inet => match verdict(&office.traffic, None, to) {
            Verdict::Leave => asked.notice.go_on(),
            Verdict::Steer | Verdict::Refuse => {
                let _ = asked.notice.fail(UNREACHABLE);
            }
        },
    }
}

/// Answers a call whose address cannot be read: the kernel may read what we cannot.
fn unread(asked: Asked, errno: Errno) {
    match asked.socket().map(|socket| Kind::of(&socket)) {
        Ok(Kind::Tcp | Kind::Udp | Kind::Inet) => {
            let _ = asked.notice.fail(errno);
        }
        Ok(Kind::Other) | Err(_) => asked.notice.go_on(),
    }
}

fn hidden(office: &Office, asked: Asked) {
    office.hidden(asked.notice.thread);
    let _ = asked.notice.fail(Errno::EPERM);
}

fn tcp(office: &Arc<Office>, asked: Asked, socket: OwnedFd, name: &Name, to: SocketAddr) {
    let cookie = SockRef::from(&socket).cookie().unwrap_or_default();
    let Some(asked) = Join::again(office, cookie, asked) else {
        return;
    };
    if !office.takeover.is_idle() {
        let one = lock(&office.holding);
        // Locked before it is asked: what is over by then cannot be waited for.
        let mut waiting = lock(&office.waiting);
        match office.takeover.again(&socket) {
            Again::New => {}
            Again::Wait => {
                let waiting = waiting.entry(cookie).or_default();
                return waiting.push(Waiting::Connect(asked));
            }
            known @ Again::Answer(_) => {
                drop((one, waiting));
                return office.answer_again(cookie, asked.notice, known);
            }
        }
    }
    match verdict(&office.traffic, Some(Protocol::Tcp), to) {
        Verdict::Steer => steer(office, asked, socket, name, to),
        Verdict::Leave | Verdict::Refuse => match SockRef::from(&socket).nonblocking() {
            Ok(true) => own(asked, &socket, name),
            // It would keep the supervisor from its other work.
            _ => asked.notice.go_on(),
        },
    }
}

/// Connects the program's socket to the address that was copied, which takes no time.
fn own(asked: Asked, socket: &OwnedFd, name: &Name) {
    let _ = asked
        .notice
        .answer(sys::connect(socket.as_fd(), name.bytes()));
}

/// Connects a socket of datagrams that can send none: sending fails with EPIPE.
///
/// getaddrinfo(3) connects one to every address to see by which of ours it would be reached, and
/// sorts by that: it gets the answers that it would get unsteered.
fn mute(asked: Asked, socket: &OwnedFd, name: &Name) {
    // A socket without a peer has none to shut, but it is noted all the same (`inet_shutdown` of
    // net/ipv4/af_inet.c); that of IPv6 is the same.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
    own(asked, socket, name);
}

fn steer(office: &Arc<Office>, asked: Asked, socket: OwnedFd, name: &Name, to: SocketAddr) {
    let identity = office.identity(asked.process);
    let process = identity.pid.or_else(|| asked.process.leader().ok());
    // What was read was the caller's if it still waits.
    if !asked.notice.is_waiting() {
        return;
    }
    let holders = Holders::of(process, &socket);
    let Some(answer) = Join::begin(office, asked.notice, holders, socket, name.clone(), to) else {
        return;
    };
    let steered = Steered {
        flow: Flow::Unmade,
        client: ClientAddr(answer.client()),
        destination: Destination::addr(canonical(to)),
        identity,
        via: Method::Seccomp,
        upstream: None,
        app: None,
        inside: None,
        answer: Box::new(answer),
    };
    // Dropped with its answer where the engine is behind or gone: the connect is refused.
    if office.steered_tx.try_send(steered).is_err() {
        tracing::debug!("a connect was refused: the engine takes no more");
    }
}
