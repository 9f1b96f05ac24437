//! The namespaces of a holder, as whoever starts the command enters them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Descriptors of three namespaces.
///
/// They are the process's own: the holder cannot be looked into, not even by processes of the
/// same user, and may be gone when the command starts.
#[derive(Debug)]
pub(crate) struct Entrance {
    user: OwnedFd,
    network: OwnedFd,
    mounts: OwnedFd,
}

impl Entrance {
    pub(super) const fn new(user: OwnedFd, network: OwnedFd, mounts: OwnedFd) -> Self {
        Self {
            user,
            network,
            mounts,
        }
    }

    /// The namespaces of a holder: those that its client has been given, or else those that
    /// `/proc` leads to.
    pub(crate) fn of(holder: u32) -> io::Result<Arc<Self>> {
        if let Some(known) = table().get(&holder).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let open = |name: &str| File::open(format!("/proc/{holder}/ns/{name}")).map(OwnedFd::from);
        Ok(Arc::new(Self::new(
            open("user")?,
            open("net")?,
            open("mnt")?,
        )))
    }

    /// Has [`Entrance::of`] find it while it lives.
    pub(super) fn publish(self: &Arc<Self>, holder: u32) {
        let mut table = table();
        table.retain(|_, entrance| entrance.strong_count() > 0);
        table.insert(holder, Arc::downgrade(self));
    }

    /// The namespace of users; it comes first, and gives the right to enter the others.
    pub(crate) fn user(&self) -> BorrowedFd<'_> {
        self.user.as_fd()
    }

    /// The namespace of the network.
    pub(crate) fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }

    /// The namespace of mounts.
    pub(crate) fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }
}

/// The process's table of entrances, by the holder's number.
fn table() -> MutexGuard<'static, BTreeMap<u32, Weak<Entrance>>> {
    static KNOWN: Mutex<BTreeMap<u32, Weak<Entrance>>> = Mutex::new(BTreeMap::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
