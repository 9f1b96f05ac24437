//! Pipes for splice(2), shared by all connections.
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// Bytes that a pipe should hold.
const CAPACITY: i32 = 256 * 1024;

/// A pipe smaller than this moves less per call than a plain copy does.
const WORTHWHILE: i32 = 64 * 1024;

/// Pipes that may exist at once; a direction that gets none is copied.
///
/// 128 pipes are 256 descriptors and half of what an unprivileged user may lock in pipes
/// (`fs.pipe-user-pages-soft`).
const MOST: usize = 128;

/// Empty pipes kept by a thread.
const SPARES: usize = 16;

static EXISTING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe on loan, empty when taken.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) capacity: usize,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        EXISTING.fetch_sub(1, Relaxed);
    }
}

/// An empty pipe, unless that would exceed a limit of ours or of the system.
pub(super) fn take() -> Option<Pipe> {
    POOL.try_with(|pool| pool.borrow_mut().pop())
        .ok()
        .flatten()
        .or_else(make)
}

/// Takes an empty pipe back. One that holds bytes must be dropped instead: its next user would
/// deliver another connection's bytes.
pub(super) fn give(pipe: Pipe) {
    // A thread that is ending has no pool: the pipe is closed with it.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < SPARES {
            pool.push(pipe);
        }
    });
}

fn make() -> Option<Pipe> {
    if EXISTING.fetch_add(1, Relaxed) >= MOST {
        EXISTING.fetch_sub(1, Relaxed);
        return None;
    }
    let Ok((read, write)) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC) else {
        EXISTING.fetch_sub(1, Relaxed);
        return None;
    };
    let mut pipe = Pipe {
        read,
        write,
        capacity: 0,
    };
    // EPERM past the user's soft limit: the pipe keeps the size that it has.
    let size = fcntl(&pipe.write, FcntlArg::F_SETPIPE_SZ(CAPACITY))
        .or_else(|_| fcntl(&pipe.write, FcntlArg::F_GETPIPE_SZ))
        .ok()
        .filter(|size| *size >= WORTHWHILE)?;
    pipe.capacity = usize::try_from(size).ok()?;
    Some(pipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_used_again_and_never_more_than_the_limit_exist() {
        let first = take().expect("a pipe");
        assert!(first.capacity >= 64 * 1024);
        let descriptors = format!("{:?}", first.read);
        give(first);
        let mut taken: Vec<_> = std::iter::from_fn(take).take(MOST + 1).collect();
        assert_eq!(format!("{:?}", taken[0].read), descriptors);
        assert!(taken.len() <= MOST && take().is_none());
        taken.pop();
        assert!(take().is_some());
    }
}
