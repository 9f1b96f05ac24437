//! Whether a process can have namespaces of its own.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid, write};
use steer_core::host::Presence;

use crate::confine::{Obstacle, Stage};
use crate::sys;

/// Tries it in a child, which takes with it what it made.
///
/// Some security modules let the namespaces be made and forbid their use, so the child maps itself
/// and uses a capability over each.
pub(super) fn presence() -> Presence {
    let attempt = Attempt::prepare();
    match sys::process::try_in_child(move || attempt.make()) {
        Ok(Ok(())) => Presence::Present,
        Ok(Err((stage, errno))) => Presence::Absent(Obstacle::behind(stage, errno).to_string()),
        Err(error) => Presence::Unknown(format!("no process could be started: {error}")),
    }
}

/// What the child does, prepared so that it makes system calls alone.
struct Attempt {
    users: String,
    groups: String,
}

impl Attempt {
    fn prepare() -> Self {
        let alone = |id: u32| format!("{id} {id} 1\n");
        Self {
            users: alone(geteuid().as_raw()),
            groups: alone(getegid().as_raw()),
        }
    }

    fn make(&self) -> Result<(), (Stage, Errno)> {
        let Self { users, groups } = self;
        let all = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        unshare(all).map_err(|errno| (Stage::Unshare, errno))?;
        put(c"/proc/self/setgroups", "deny")
            .and_then(|()| put(c"/proc/self/uid_map", users))
            .and_then(|()| put(c"/proc/self/gid_map", groups))
            .map_err(|errno| (Stage::Map, errno))?;
        administer()
            .and_then(|()| reach_out())
            .map_err(|errno| (Stage::Use, errno))
    }
}

/// Uses CAP_SYS_ADMIN over the mounts and CAP_NET_ADMIN over the network.
fn administer() -> Result<(), Errno> {
    let none: Option<&CStr> = None;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, c"/", none, flags, none)?;
    let kind = SockType::Datagram;
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::IpTransparent, &true)
}

/// Connects to nowhere, which a supervisor of system calls forbids in other namespaces than its own.
fn reach_out() -> Result<(), Errno> {
    let kind = SockType::Stream;
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let nowhere = SockaddrIn::new(192, 0, 2, 1, 9);
    match connect(socket.as_raw_fd(), &nowhere) {
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => Err(errno),
        // There is no way to anywhere.
        _ => Ok(()),
    }
}

fn put(path: &CStr, text: &str) -> Result<(), Errno> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(file, text.as_bytes()).map(drop)
}
