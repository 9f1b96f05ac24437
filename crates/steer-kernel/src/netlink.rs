//! A netlink socket that asks one question at a time, for the subsystems whose answers come at once.
//!
//! nf_tables speaks in batches and has its own socket; this is for routes, rules, links and
//! connection tracking.

pub(crate) mod message;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use self::message::{Body, Message, messages};
use crate::sys;

/// A connection to a netlink subsystem, of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It said no.
    #[error("{}{}", io::Error::from(*errno), complaint.as_ref().map(|c| format!(" ({c})")).unwrap_or_default())]
    No {
        /// Its error number.
        errno: Errno,
        /// Its own words, where it has any.
        complaint: Option<String>,
    },
    /// What was listed changed while it was listed.
    #[error("what was listed changed meanwhile")]
    Raced,
    /// The socket itself failed.
    #[error("netlink socket: {}", io::Error::from(*.0))]
    Socket(#[from] Errno),
}

impl Refused {
    /// The kernel's error number, where it has said one.
    pub(crate) const fn errno(&self) -> Option<Errno> {
        match self {
            Self::No { errno, .. } | Self::Socket(errno) => Some(*errno),
            Self::Raced => None,
        }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused.errno() {
            Some(errno) => errno.into(),
            None => io::ErrorKind::Interrupted.into(),
        }
    }
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread, where it stays.
    pub(crate) fn open(subsystem: SockProtocol) -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            subsystem,
        )?;
        Self::over(fd)
    }

    /// Works through a socket that somebody else opened.
    pub(crate) fn over(fd: OwnedFd) -> Result<Self, Errno> {
        sys::netlink_option(fd.as_fd(), sys::NETLINK_EXT_ACK)?;
        sys::netlink_option(fd.as_fd(), sys::NETLINK_CAP_ACK)?;
        // Lets a list be filtered by the kernel; one without the option lists everything.
        let _ = sys::netlink_option(fd.as_fd(), sys::NETLINK_GET_STRICT_CHK);
        // The kernel answers within the send, or within the receive where a list goes on; the
        // bound only keeps a surprise from hanging us, among them an engine's thread.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(0, PATIENCE_US))?;
        Ok(Self {
            fd,
            seq: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Has the kernel do something.
    pub(crate) fn command(&mut self, kind: u16, flags: u16, body: &Body) -> Result<(), Refused> {
        self.ask(kind, flags, body, |_| {})
    }

    /// Lists objects; `each` sees one a call. Lists again where they changed meanwhile.
    pub(crate) fn list<T>(
        &mut self,
        kind: u16,
        body: &Body,
        mut each: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refused> {
        for _ in 0..TURNS {
            let mut all = Vec::new();
            match self.ask(kind, NLM_F_DUMP, body, |message| all.extend(each(message))) {
                Err(Refused::Raced) => {}
                done => return done.map(|()| all),
            }
        }
        Err(Refused::Raced)
    }

    /// Looks one object up: one call to ask and one for the answer.
    pub(crate) fn look_up<T>(
        &mut self,
        kind: u16,
        body: &Body,
        read: impl FnOnce(Message<'_>) -> T,
    ) -> Result<T, Refused> {
        let seq = self.send(kind, 0, body)?;
        loop {
            let length = self.receive()?;
            let answer = messages(&self.buffer[..length]).find(|m| m.seq == seq);
            match answer.map(|message| (message, message.errno())) {
                Some((message, None)) => return Ok(read(message)),
                Some((message, Some(errno))) => return Err(refusal(message, errno)),
                // To somebody's question before, who did not wait for it.
                None => {}
            }
        }
    }

    /// Sends one request and reads its answers up to the end of the list or the acknowledgement.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &Body,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Refused> {
        let seq = self.send(kind, flags | NLM_F_ACK, body)?;
        let mut interrupted = false;
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]).filter(|m| m.seq == seq) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.errno() {
                    None => each(message),
                    Some(0) if interrupted => return Err(Refused::Raced),
                    Some(0) => return Ok(()),
                    Some(errno) => return Err(refusal(message, errno)),
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &Body) -> Result<u32, Errno> {
        self.seq = self.seq.wrapping_add(1);
        let request = body.request(kind, flags, self.seq);
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(self.seq)
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
        }
    }
}

fn refusal(message: Message<'_>, errno: i32) -> Refused {
    Refused::No {
        errno: Errno::from_raw(errno),
        complaint: message.complaint(),
    }
}

pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
/// Larger than any datagram the kernel makes of a list (it fills pages, at most 32 KiB).
const BUFFER: usize = 64 * 1024;
/// Longer than any pause of a machine that works, in microseconds.
const PATIENCE_US: i64 = 200_000;
/// Each turn lost is a change by another program in between.
const TURNS: u32 = 100;
