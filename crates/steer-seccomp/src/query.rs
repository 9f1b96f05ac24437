//! How a connect went, and to whom: getsockopt(2) and getpeername(2).

use nix::errno::Errno;
use nix::libc;
use steer_kernel::takeover::Told;

use crate::call::Asked;
use crate::memory;
use crate::name::Name;
use crate::notice::Delivery;
use crate::office::{Office, lock};
use crate::waiting::Waiting;

/// getsockopt(2) of SO_ERROR or SO_PEERNAME.
pub(crate) fn option(office: &Office, asked: Asked) {
    if office.takeover.is_idle() {
        return asked.notice.go_on();
    }
    let Ok(socket) = asked.socket() else {
        return asked.notice.go_on();
    };
    if asked.int(2) == libc::SO_PEERNAME {
        return match office.takeover.peer(&socket) {
            Some(peer) => put_name(asked, &Name::of(peer), (3, 4), Short::Refuses),
            None => asked.notice.go_on(),
        };
    }
    // Locked before it is asked: what is over by then cannot be waited for.
    let mut waiting = lock(&office.waiting);
    match office.takeover.error(&socket) {
        Told::Kernel => asked.notice.go_on(),
        Told::Error(errno) => {
            drop(waiting);
            if put_error(asked, Some(errno)) == Delivery::Lost {
                office.takeover.unasked(&socket, errno);
            }
        }
        Told::Wait => {
            if let Ok(cookie) = socket2::SockRef::from(&socket).cookie() {
                let waiting = waiting.entry(cookie).or_default();
                waiting.push(Waiting::Error(asked));
            }
        }
    }
}

/// getpeername(2).
pub(crate) fn peer(office: &Office, asked: Asked) {
    if office.takeover.is_idle() {
        return asked.notice.go_on();
    }
    let known = asked.socket().ok();
    let known = known.and_then(|socket| office.takeover.peer(&socket));
    match known {
        Some(peer) => put_name(asked, &Name::of(peer), (1, 2), Short::Cuts),
        None => asked.notice.go_on(),
    }
}

/// Answers getsockopt(2) of SO_ERROR as `sock_getsockopt` does.
pub(crate) fn put_error(asked: Asked, errno: Option<Errno>) -> Delivery {
    let error = errno.map_or(0, |errno| errno as i32);
    let written = (|| {
        let room = memory::number(asked.process, asked.args[4])?;
        let room = i32::try_from(room).map_err(|_| Errno::EINVAL)?;
        let length = usize::try_from(room).map_or(4, |room| room.min(4));
        let bytes = error.to_ne_bytes();
        asked.write(asked.args[3], &bytes[..length])?;
        let length = u32::try_from(length).expect("four at most");
        asked.write(asked.args[4], &length.to_ne_bytes())
    })();
    asked.notice.answer(written)
}

/// What becomes of an address for which there is too little room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Short {
    /// It is cut, and its whole length told.
    Cuts,
    /// As long as the program says it is, but no longer than it is.
    Refuses,
}

/// Writes an address to where one argument points, and its length to where the other does.
fn put_name(asked: Asked, name: &Name, (to, length): (usize, usize), short: Short) {
    let bytes = name.bytes();
    let (to, length) = (asked.args[to], asked.args[length]);
    let written = (|| {
        let room = memory::number(asked.process, length)?;
        let room = i32::try_from(room).map_err(|_| Errno::EINVAL)?;
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
        if short == Short::Refuses && room > bytes.len() {
            return Err(Errno::EINVAL);
        }
        let put = &bytes[..room.min(bytes.len())];
        if !put.is_empty() {
            asked.write(to, put)?;
        }
        let told = match short {
            Short::Cuts => bytes.len(),
            Short::Refuses => put.len(),
        };
        let told = u32::try_from(told).expect("addresses are short");
        asked.write(length, &told.to_ne_bytes())
    })();
    let _ = asked.notice.answer(written);
}
