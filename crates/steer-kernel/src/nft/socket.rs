//! A netlink socket to the netfilter subsystem of one network namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::wire::{
    Attrs, BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, Reply,
    Request, number, replies,
};
use crate::sys;

/// The socket; tables that it owns live as long as its last descriptor.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    port: u32,
    seq: u32,
}

/// Messages that take effect together or not at all, each with its name for people.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<(Request, String)>);

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The rules changed between the look at them and the change.
    #[error("the host's rules changed meanwhile")]
    Raced,
    /// A message was refused; nothing of its batch took effect.
    #[error("{message}: {}{}", io::Error::from(*errno), complaint.as_ref().map(|c| format!(" ({c})")).unwrap_or_default())]
    Message {
        /// What the message was to do.
        message: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own words, where it has any.
        complaint: Option<String>,
    },
    /// The socket itself failed.
    #[error("netlink socket: {}", io::Error::from(*.0))]
    Socket(#[from] Errno),
}

impl Batch {
    /// Adds a message; `name` completes "could not …".
    pub(crate) fn push(&mut self, request: Request, name: impl Into<String>) {
        self.0.push((request, name.into()));
    }

    /// Adds the messages of another batch.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread, where it stays.
    pub(crate) fn open() -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        Self::adopt_unbound(fd)
    }

    /// Works through a socket that another process opened and gave no address.
    pub(crate) fn adopt_unbound(fd: OwnedFd) -> Result<Self, Errno> {
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Self::adopt(fd)
    }

    /// Works through a socket that another process opened.
    pub(crate) fn adopt(fd: OwnedFd) -> Result<Self, Errno> {
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd())?.pid();
        sys::netlink_option(fd.as_fd(), sys::NETLINK_EXT_ACK)?;
        sys::netlink_option(fd.as_fd(), sys::NETLINK_CAP_ACK)?;
        // The kernel answers within the send; the bound only keeps a surprise from hanging us.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
        Ok(Self { fd, port, seq: 0 })
    }

    /// The number by which the kernel names this socket as a table's owner.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// The number of the ruleset's current state.
    pub(crate) fn generation(&mut self) -> Result<u32, Refused> {
        let request = Request::nft(GETGEN, 0, 0, Attrs::new());
        let mut generation = 0;
        self.ask(&request, "read the state of nf_tables", |reply| {
            for (kind, value) in reply.attrs() {
                if kind == GEN_ID {
                    generation = number(value);
                }
            }
        })?;
        Ok(generation)
    }

    /// Lists objects; `each` sees one a call.
    pub(crate) fn dump(
        &mut self,
        message: u16,
        family: u8,
        attrs: Attrs,
        name: &str,
        each: impl FnMut(Reply<'_>),
    ) -> Result<(), Refused> {
        self.ask(
            &Request::nft(message, NLM_F_DUMP, family, attrs),
            name,
            each,
        )
    }

    /// Applies a batch, provided the ruleset is still in the state `generation`.
    pub(crate) fn commit(&mut self, generation: u32, batch: &Batch) -> Result<(), Refused> {
        let Some(last) = batch.0.len().checked_sub(1) else {
            return Ok(());
        };
        let mut demand = Attrs::new();
        demand.u32(BATCH_GENID, generation);
        let first_seq = self.next_seq();
        let mut bytes = Vec::new();
        Request::batch(BATCH_BEGIN, demand).encode(first_seq, &mut bytes);
        for (index, (request, _)) in batch.0.iter().enumerate() {
            let mut request = request.clone();
            if index == last {
                request.flags |= NLM_F_ACK;
            }
            request.encode(self.next_seq(), &mut bytes);
        }
        let last_seq = self.seq;
        Request::batch(BATCH_END, Attrs::new()).encode(self.next_seq(), &mut bytes);

        self.make_room(bytes.len());
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        self.verdict(first_seq, last_seq, batch)
    }

    /// Reads the acknowledgement of the last message, or the first error.
    fn verdict(&self, first_seq: u32, last_seq: u32, batch: &Batch) -> Result<(), Refused> {
        let mut failure = None;
        let mut done = false;
        let mut buffer = vec![0; BUFFER];
        loop {
            // Everything is queued when send returns, so an empty queue after the verdict is the end.
            let flags = match done {
                true => MsgFlags::MSG_DONTWAIT,
                false => MsgFlags::empty(),
            };
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, flags) {
                Ok(length) => length,
                Err(Errno::EAGAIN) if done => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for reply in replies(&buffer[..length]) {
                let Some(errno) = reply.errno() else { continue };
                let Some(index) = reply.seq.checked_sub(first_seq) else {
                    continue;
                };
                done |= errno != 0 || reply.seq == last_seq;
                if errno != 0 && failure.is_none() {
                    failure = Some((index as usize, Errno::from_raw(errno), reply.complaint()));
                }
            }
        }
        match failure {
            None => Ok(()),
            Some((_, Errno::ERESTART, _)) => Err(Refused::Raced),
            Some((index, errno, complaint)) => Err(Refused::Message {
                message: index
                    .checked_sub(1)
                    .and_then(|i| batch.0.get(i))
                    .map_or("change nf_tables", |(_, name)| name)
                    .to_owned(),
                errno,
                complaint,
            }),
        }
    }

    /// Sends one request and reads its answers up to the end of the list or the acknowledgement.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        name: &str,
        mut each: impl FnMut(Reply<'_>),
    ) -> Result<(), Refused> {
        let seq = self.next_seq();
        let mut bytes = Vec::new();
        let mut request = request.clone();
        request.flags |= NLM_F_ACK;
        request.encode(seq, &mut bytes);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        let mut interrupted = false;
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for reply in replies(&buffer[..length]).filter(|reply| reply.seq == seq) {
                interrupted |= reply.flags & NLM_F_DUMP_INTR != 0;
                match reply.errno() {
                    None => each(reply),
                    Some(0) if interrupted => return Err(Refused::Raced),
                    Some(0) => return Ok(()),
                    // A dump of an object that is gone is a change between two looks.
                    Some(errno) if reply.kind == NLMSG_DONE => {
                        return Err(Errno::from_raw(errno).into());
                    }
                    Some(errno) => {
                        return Err(Refused::Message {
                            message: name.to_owned(),
                            errno: Errno::from_raw(errno),
                            complaint: reply.complaint(),
                        });
                    }
                }
            }
        }
    }

    /// Lets the socket take a message of this length, which long lists of networks need.
    fn make_room(&self, length: usize) {
        if length > BUFFER {
            // Without the privilege the send fails with EMSGSIZE and says so.
            let _ = setsockopt(&self.fd, sockopt::SndBufForce, &(length * 2));
        }
    }

    const fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const GETGEN: u16 = 16;
const GEN_ID: u16 = 1;
const BATCH_GENID: u16 = 1;
/// Larger than any datagram the kernel makes of a list (it fills pages, at most 32 KiB).
const BUFFER: usize = 64 * 1024;
