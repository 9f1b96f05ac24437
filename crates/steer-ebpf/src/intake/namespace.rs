//! Network namespaces of programs, and which of them a cookie is of.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::fs::MetadataExt;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use steer_core::netns;
use steer_core::plan::Netns;

use crate::sys;

/// A network namespace that is held open.
#[derive(Debug)]
pub(super) struct Namespace {
    file: File,
    /// The number by which programs in the kernel know it.
    pub(super) cookie: u64,
    /// The number by which /proc knows it.
    pub(super) inode: u64,
}

impl Namespace {
    /// That of a process.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/ns/net"))?;
        let inode = file.metadata()?.st_ino();
        let cookie = netns::within(Some(&file), cookie)??;
        Ok(Self {
            file,
            cookie,
            inode,
        })
    }

    /// The one of a cookie: that of the process, if it is still there, or of another one.
    pub(super) fn seek(cookie: u64, pid: u32) -> Option<Self> {
        let is_it = |pid| Self::of(pid).ok().filter(|found| found.cookie == cookie);
        // Seen from a pid namespace of our own the number may mean another process, or nobody.
        is_it(pid).or_else(|| first_of_each().into_iter().find_map(is_it))
    }

    /// Runs short work inside.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        netns::within(Some(&self.file), work)
    }

    /// A name of it that holds for as long as this is held.
    pub(super) fn path(&self) -> Netns {
        Netns::Path(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// The inodes of every namespace that a process is in.
pub(super) fn inhabited() -> BTreeSet<u64> {
    processes().filter_map(inode).collect()
}

/// The inode of a process's namespace.
pub(super) fn inode(pid: u32) -> Option<u64> {
    let meta = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
    Some(meta.st_ino())
}

/// One process of each namespace.
fn first_of_each() -> Vec<u32> {
    let mut seen = BTreeSet::new();
    processes()
        .filter(|pid| inode(*pid).is_some_and(|inode| seen.insert(inode)))
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The cookie of the namespace of the calling thread.
pub(super) fn cookie() -> io::Result<u64> {
    let flags = SockFlag::SOCK_CLOEXEC;
    // A socket of any kind will do, and IPv4 is always there.
    let socket = UdpSocket::from(socket(
        AddressFamily::Inet,
        SockType::Datagram,
        flags,
        None,
    )?);
    sys::netns_cookie(socket.as_fd())
}
