//! Datagrams: sendto(2), sendmsg(2) and sendmmsg(2) with an address.

use nix::errno::Errno;
use steer_core::address::Protocol;
use steer_kernel::seccomp::Call;

use crate::call::{Asked, Kind};
use crate::memory;
use crate::name::{Meaning, Name};
use crate::office::Office;
use crate::traffic::{Verdict, verdict};

/// Lets it pass or refuses it; nothing is sent by us.
pub(crate) fn send(office: &Office, asked: Asked) {
    let names = match names(&asked) {
        Ok(names) => names,
        Err(errno @ (Errno::EFAULT | Errno::EINVAL)) => return unread(asked, errno),
        Err(errno) => {
            office.hidden(asked.notice.thread);
            let _ = asked.notice.fail(errno);
            return;
        }
    };
    let to = names.iter().filter_map(|name| match name.addressed() {
        Meaning::Inet(to) => Some(to),
        Meaning::Unspecified | Meaning::Other => None,
    });
    // Without the socket: loopback and no address at all are the most.
    let left = |protocol| move |to| verdict(&office.traffic, protocol, to) == Verdict::Leave;
    let protocols = [Some(Protocol::Tcp), Some(Protocol::Udp), None];
    if to
        .clone()
        .all(|to| protocols.into_iter().all(|p| left(p)(to)))
    {
        return asked.notice.go_on();
    }
    let kind = match asked.socket() {
        Ok(socket) => Kind::of(&socket),
        Err(Errno::EPERM) => {
            office.hidden(asked.notice.thread);
            let _ = asked.notice.fail(Errno::EPERM);
            return;
        }
        Err(_) => return asked.notice.go_on(),
    };
    let mut to = to;
    let refused = match kind {
        Kind::Tcp => {
            // Of a connected socket the address means nothing; else it connects, where the flag
            // says so, as if the host had this switched off (tcp(7)).
            let opens = flags(&asked) & MSG_FASTOPEN != 0;
            let steered = opens && !to.all(left(Some(Protocol::Tcp)));
            steered.then_some(Errno::EOPNOTSUPP)
        }
        Kind::Udp => (!to.all(left(Some(Protocol::Udp)))).then_some(UNREACHABLE),
        Kind::Inet => (!to.all(left(None))).then_some(UNREACHABLE),
        Kind::Other => None,
    };
    match refused {
        Some(errno) => {
            let _ = asked.notice.fail(errno);
        }
        None => asked.notice.go_on(),
    }
}

/// Answers a call of which an address cannot be read.
///
/// The kernel does not make it: it would send the messages of sendmmsg(2) that come before that
/// address, and may read what we cannot (memory of a device).
fn unread(asked: Asked, errno: Errno) {
    let kind = asked.socket().map(|socket| Kind::of(&socket));
    match kind {
        Ok(Kind::Udp | Kind::Inet) => {
            let _ = asked.notice.fail(errno);
        }
        Ok(Kind::Tcp) if flags(&asked) & MSG_FASTOPEN != 0 => {
            let _ = asked.notice.fail(errno);
        }
        Err(Errno::EPERM) => {
            let _ = asked.notice.fail(Errno::EPERM);
        }
        // No such descriptor, no socket, or one that an address leads nowhere: the kernel says it
        // in its own order of checks.
        Ok(Kind::Tcp | Kind::Other) | Err(_) => asked.notice.go_on(),
    }
}

/// Copies the addresses of all messages.
fn names(asked: &Asked) -> Result<Vec<Name>, Errno> {
    let Asked { process, args, .. } = asked;
    let headers = match asked.call {
        Call::Sendto => {
            let length = u32::try_from(asked.int(5)).map_err(|_| Errno::EINVAL)?;
            return match args[4] {
                0 => Ok(Vec::new()),
                at => Ok(vec![memory::name(*process, at, length)?]),
            };
        }
        Call::Sendmsg => vec![memory::header(*process, asked.abi(), args[1])?],
        _ => memory::headers(*process, asked.abi(), args[1], args[2])?,
    };
    let named = headers.into_iter().filter(|header| header.has_name());
    named.map(|header| header.name(*process)).collect()
}

fn flags(asked: &Asked) -> i32 {
    asked.int(match asked.call {
        Call::Sendmsg => 2,
        _ => 3,
    })
}

/// What programs take for a network that is not there, and go on without it.
pub(crate) const UNREACHABLE: Errno = Errno::ENETUNREACH;

/// linux/socket.h
const MSG_FASTOPEN: i32 = 0x2000_0000;
