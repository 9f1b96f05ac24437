//! Messages between an engine and its keeper: JSON behind a length, descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steer_core::driver::Lifeline;
use steer_core::journal::ProcessId;
use steer_core::keeper::{Job, Released};
use steer_core::object::Domain;
use steer_core::plan::Netns;

use super::fault::Fault;
use crate::sys::process;

/// What the engine asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Comes first: who asks.
    Hello { engine: ProcessId },
    /// Put a job in force; the namespaces of its paths come beside, as the engine has opened them,
    /// and after them the engine's listeners.
    Commit {
        job: Box<Job>,
        namespaces: Vec<String>,
    },
    /// Take over a job of a keeper that is gone; its lifelines come beside, and after them the
    /// engine's listeners.
    Adopt {
        job: Box<Job>,
        retired: bool,
        lifelines: Vec<Tag>,
    },
    /// Take no further flow.
    Retire,
    /// Undo the job.
    Release,
}

/// What the keeper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// Done; lifelines come beside.
    Done { lifelines: Vec<Tag> },
    /// Undone.
    Released(Released),
    /// Not done.
    Failed(Fault),
}

/// What a descriptor beside a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) domain: Domain,
    pub(crate) netns: Netns,
    pub(crate) label: String,
}

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Wire(UnixStream);

impl Wire {
    pub(crate) const fn new(socket: UnixStream) -> Self {
        Self(socket)
    }

    /// Readable when a message is coming, or the other end has closed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// How long to wait for a message.
    pub(crate) fn patience(&self, time: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(time))
    }

    /// Sends a message with descriptors.
    pub(crate) fn send(&mut self, message: &impl Serialize, fds: &[RawFd]) -> io::Result<()> {
        if fds.len() > MOST_FDS {
            return Err(too_many(fds.len()));
        }
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= LONGEST)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?
            .to_le_bytes();
        let rights = [ControlMessage::ScmRights(fds)];
        let beside = if fds.is_empty() { &[][..] } else { &rights[..] };
        let sent = loop {
            // One call, so that whoever waits is woken once.
            let parts = [IoSlice::new(&length), IoSlice::new(&body)];
            match sendmsg::<UnixAddr>(
                self.0.as_raw_fd(),
                &parts,
                beside,
                MsgFlags::MSG_NOSIGNAL,
                None,
            ) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        self.0.write_all(&length[sent.min(length.len())..])?;
        self.0.write_all(&body[sent.saturating_sub(length.len())..])
    }

    /// The next message; `None` when the other end closed.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut head = [0; 4];
        let (got, fds) = self.receive_head(&mut head)?;
        if got == 0 {
            return Ok(None);
        }
        self.0.read_exact(&mut head[got..])?;
        let length = u32::from_le_bytes(head);
        if length > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the message is too long",
            ));
        }
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, fds)))
    }

    fn receive_head(&self, head: &mut [u8; 4]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = nix::cmsg_space!([RawFd; MOST_FDS]);
        loop {
            let mut into = [IoSliceMut::new(head)];
            let message = match recvmsg::<UnixAddr>(
                self.0.as_raw_fd(),
                &mut into,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            ) {
                Ok(message) => message,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let (bytes, cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_CTRUNC));
            let mut fds = Vec::new();
            for beside in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = beside {
                    fds.extend(process::received(raw));
                }
            }
            if cut {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "descriptors beside a message were lost",
                ));
            }
            return Ok((bytes, fds));
        }
    }
}

/// Descriptors and their meaning, apart, as a message carries them.
pub(crate) fn tags(lifelines: &[Lifeline]) -> (Vec<Tag>, Vec<RawFd>) {
    lifelines
        .iter()
        .map(|line| {
            let tag = Tag {
                domain: line.domain,
                netns: line.netns.clone(),
                label: line.label.clone(),
            };
            (tag, line.fd.as_raw_fd())
        })
        .unzip()
}

/// Descriptors and their meaning, together.
pub(crate) fn lifelines(tags: Vec<Tag>, fds: Vec<OwnedFd>) -> Vec<Lifeline> {
    tags.into_iter()
        .zip(fds)
        .map(|(tag, fd)| {
            let Tag {
                domain,
                netns,
                label,
            } = tag;
            Lifeline {
                domain,
                netns,
                label,
                fd,
            }
        })
        .collect()
}

fn too_many(count: usize) -> io::Error {
    let text = format!("{count} descriptors were to be sent, and a message takes {MOST_FDS}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Far beyond any plan; a length above it is not from us.
const LONGEST: u32 = 16 << 20;
/// The kernel lets no more pass in a message (`SCM_MAX_FD` of include/net/scm.h).
const MOST_FDS: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Wire, Wire) {
        let (a, b) = UnixStream::pair().unwrap();
        (Wire::new(a), Wire::new(b))
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (mut a, mut b) = pair();
        let (mut reader, writer) = io::pipe().unwrap();
        let line = Lifeline {
            domain: Domain::Nft,
            netns: Netns::Here,
            label: "table".to_owned(),
            fd: writer.as_fd().try_clone_to_owned().unwrap(),
        };
        let lines = [line];
        let (tags, fds) = tags(&lines);
        a.send(&Reply::Done { lifelines: tags }, &fds).unwrap();
        drop((writer, lines));
        let (reply, fds) = b.receive::<Reply>().unwrap().unwrap();
        let Reply::Done { lifelines: tags } = reply else {
            panic!("{reply:?}");
        };
        let lines = lifelines(tags, fds);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].label, "table");
        std::fs::File::from(lines[0].fd.try_clone().unwrap())
            .write_all(b"x")
            .unwrap();
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_takes_arrive_and_more_are_an_error() {
        let (mut a, mut b) = pair();
        let (_reader, writer) = io::pipe().unwrap();
        let most = [writer.as_raw_fd(); MOST_FDS];
        a.send(&Request::Retire, &most).unwrap();
        let (_, fds) = b.receive::<Request>().unwrap().unwrap();
        assert_eq!(fds.len(), MOST_FDS);
        let more = [writer.as_raw_fd(); MOST_FDS + 1];
        let error = a.send(&Request::Retire, &more).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        a.send(&Request::Release, &[]).unwrap();
        let (next, _) = b.receive::<Request>().unwrap().unwrap();
        assert_eq!(next, Request::Release);
    }

    #[test]
    fn a_closed_end_is_no_message() {
        let (a, mut b) = pair();
        drop(a);
        assert!(b.receive::<Request>().unwrap().is_none());
    }

    #[test]
    fn an_absurd_length_is_refused_before_memory_is_taken() {
        let (a, mut b) = pair();
        let Wire(mut a) = a;
        a.write_all(&[0xff; 4]).unwrap();
        let error = b.receive::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_message_cut_short_is_an_error() {
        let (a, mut b) = pair();
        let Wire(mut a) = a;
        a.write_all(&[9, 0, 0, 0, b'"']).unwrap();
        drop(a);
        let error = b.receive::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
