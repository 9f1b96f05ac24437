//! The system calls that have no safe wrapper, one operation a block.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socket,
};
use nix::unistd::{Gid, Uid};

/// What a child does between fork and exec; the order of a list is the order of doing.
#[derive(Debug)]
pub(crate) enum Step {
    /// Becomes root over a user, a network and a mount namespace of its own, by these maps of
    /// users and groups, with loopback up and an empty `/run`.
    OwnNamespaces(String, String),
    /// Enters a user namespace with one user and group, by this map, and power over no other.
    OwnUser(String),
    /// Enters the network namespace; no mount is touched, so `/sys/fs/cgroup` stays visible.
    JoinNetwork(Arc<OwnedFd>),
    /// Moves itself into the cgroup whose `cgroup.procs` this is.
    JoinCgroup(Arc<OwnedFd>),
    /// Takes its own cgroup for the root of the hierarchy, which is mounted here.
    OwnHierarchy(PathBuf),
    /// Takes another user and group for good, and no other groups.
    Become(Uid, Gid),
    /// Restores the limit of open files that the lab raised for itself.
    FileLimit(rlim_t, rlim_t),
    /// Becomes leader of a session of its own with standard input as its terminal.
    OwnTerminal,
    /// Hears the signals that `nohup` and background jobs of shells have ignored, so that a test
    /// does not depend on how it was started.
    HearSignals,
    /// Dies with the thread that started it. Comes after [`Step::Become`], which clears it.
    DieWithParent,
}

impl Step {
    fn take(&self) -> io::Result<()> {
        match self {
            Self::OwnNamespaces(users, groups) => {
                unshare(
                    CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS,
                )?;
                map_ids(users, groups)?;
                let none = None::<&str>;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
                mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
                loopback_up()?;
            }
            Self::OwnUser(map) => {
                unshare(CloneFlags::CLONE_NEWUSER)?;
                map_ids(map, map)?;
            }
            Self::JoinNetwork(fd) => setns(fd.as_ref(), CloneFlags::CLONE_NEWNET)?,
            Self::JoinCgroup(fd) => {
                nix::unistd::write(fd.as_ref(), b"0")?;
            }
            Self::OwnHierarchy(at) => {
                unshare(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS)?;
                // What others mount still shows, such as namespaces that get a name.
                let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE);
                mount(none, "/", none, flags, none)?;
                // The same file system cannot be mounted over itself.
                umount2(at.as_path(), MntFlags::MNT_DETACH)?;
                let (kind, flags) = (Some("cgroup2"), MsFlags::empty());
                mount(kind, at.as_path(), kind, flags, none)?;
            }
            Self::Become(uid, gid) => {
                nix::unistd::setgroups(&[])?;
                nix::unistd::setresgid(*gid, *gid, *gid)?;
                nix::unistd::setresuid(*uid, *uid, *uid)?;
            }
            Self::FileLimit(soft, hard) => setrlimit(Resource::RLIMIT_NOFILE, *soft, *hard)?,
            Self::OwnTerminal => {
                nix::unistd::setsid()?;
                // SAFETY: TIOCSCTTY takes an integer, no pointer; descriptor 0 is the terminal.
                let result = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
                nix::errno::Errno::result(result)?;
            }
            Self::HearSignals => {
                let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
                for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
                    // SAFETY: the default action runs no code of ours.
                    unsafe { sigaction(signal, &default) }?;
                }
            }
            Self::DieWithParent => nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL)?,
        }
        Ok(())
    }
}

/// Says who the users and groups of the calling process's new user namespace are outside.
fn map_ids(users: &str, groups: &str) -> io::Result<()> {
    // Without this the kernel takes no map of groups from an ordinary user.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", users)?;
    fs::write("/proc/self/gid_map", groups)
}

/// Brings up `lo` in the network namespace of the calling thread.
fn loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut name = [0; libc::IFNAMSIZ];
    name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: `request` is what SIOCSIFFLAGS reads, and outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Lets the child take these steps before it executes the program.
pub(crate) fn before_exec(command: &mut Command, steps: Vec<Step>) {
    let run = move || steps.iter().try_for_each(Step::take);
    // SAFETY: each step only makes system calls; none allocates or takes a lock of this process.
    unsafe {
        command.pre_exec(run);
    }
}

/// A descriptor that becomes readable when the process, a child not yet waited for, ends.
pub(crate) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = nix::errno::Errno::result(fd)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Receives bytes and the descriptor that may come with them.
pub(crate) fn receive_descriptor(
    socket: BorrowedFd<'_>,
    into: &mut IoSliceMut<'_>,
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut slices = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let rights = |message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    };
    let descriptor = message.cmsgs()?.find_map(rights);
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let descriptor = descriptor.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((message.bytes, descriptor))
}

fn link_address(interface: u32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff; 8],
    }
}

/// Binds a packet socket to an interface and an Ethernet protocol.
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, interface: u32, protocol: u16) -> io::Result<()> {
    let address = link_address(interface, protocol);
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` lives through the call and `length` is its size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Sends one frame out of an interface.
pub(crate) fn send_packet(
    socket: BorrowedFd<'_>,
    interface: u32,
    protocol: u16,
    payload: &[u8],
) -> io::Result<()> {
    let address = link_address(interface, protocol);
    let length = size_of_val(&address) as libc::socklen_t;
    let (data, size) = (payload.as_ptr().cast(), payload.len());
    let to = (&raw const address).cast();
    // SAFETY: both pointers come from borrows that outlive the call, with their own sizes.
    let result = unsafe { libc::sendto(socket.as_raw_fd(), data, size, 0, to, length) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Makes a TAP device of this name in the thread's namespace; it ends with the descriptor.
pub(crate) fn tap(name: &str) -> io::Result<OwnedFd> {
    let fd: OwnedFd = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?
        .into();
    // SAFETY: plain numbers and arrays, of which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes one ifreq, which lives until the call returns.
    let made = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    nix::errno::Errno::result(made)?;
    Ok(fd)
}

/// How many packets a packet socket has dropped since it was last asked.
pub(crate) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    let into = (&raw mut statistics).cast();
    let fd = socket.as_raw_fd();
    // SAFETY: `into` and `length` describe the whole of `statistics`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            into,
            &raw mut length,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(statistics.tp_drops)
}

/// One bpf(2) command over an attribute block of 32-bit words; gives the call's result.
///
/// Only for commands whose attributes hold no pointer; [`bpf_info`] and [`bpf_value`] are for those that do.
pub(crate) fn bpf(command: u32, attributes: &mut [u32; 32]) -> io::Result<i32> {
    let size = size_of_val(attributes);
    // SAFETY: the block is writable, of the size given, and larger than what these commands use.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) };
    Ok(nix::errno::Errno::result(result)? as i32)
}

/// As [`bpf`] for commands that give a descriptor.
pub(crate) fn bpf_descriptor(command: u32, attributes: &mut [u32; 32]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The information block of a BPF object (`BPF_OBJ_GET_INFO_BY_FD`).
pub(crate) fn bpf_info(object: BorrowedFd<'_>) -> io::Result<[u8; 256]> {
    const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
    let mut info = [0_u8; 256];
    let address = (&raw mut info).expose_provenance() as u64;
    let mut attributes = [0; 32];
    attributes[0] = object.as_raw_fd() as u32;
    attributes[1] = info.len() as u32;
    for (slot, half) in attributes[2..4]
        .iter_mut()
        .zip(address.to_ne_bytes().chunks_exact(4))
    {
        *slot = u32::from_ne_bytes(half.try_into().expect("four bytes"));
    }
    // The kernel writes at most `info.len()` bytes to the exposed address, while `info` lives.
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// The value, of so many bytes, of a map's key (`BPF_MAP_LOOKUP_ELEM`).
pub(crate) fn bpf_value(map: BorrowedFd<'_>, key: u32, size: usize) -> io::Result<Vec<u8>> {
    const BPF_MAP_LOOKUP_ELEM: u32 = 1;
    // The kernel writes whole words of eight bytes.
    let mut value = vec![0_u8; size.next_multiple_of(8)];
    let addresses = [
        (&raw const key).expose_provenance() as u64,
        value.as_mut_ptr().expose_provenance() as u64,
    ];
    let mut attributes = [0; 32];
    attributes[0] = map.as_raw_fd() as u32;
    let halves = addresses.iter().flat_map(|it| it.to_ne_bytes());
    let halves: Vec<u8> = halves.collect();
    for (slot, half) in attributes[2..6].iter_mut().zip(halves.chunks_exact(4)) {
        *slot = u32::from_ne_bytes(half.try_into().expect("four bytes"));
    }
    // The kernel reads `key` and writes `size` bytes to `value`; both live through the call.
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
    value.truncate(size);
    Ok(value)
}
