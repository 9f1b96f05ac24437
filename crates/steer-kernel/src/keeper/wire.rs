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
use steer_core::intake::Shared;
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
    /// Done; lifelines come beside, and after them what drivers share, by their names for it.
    Done {
        lifelines: Vec<Tag>,
        shared: Vec<String>,
    },
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
    ///
    /// Those that the kernel does not take beside one message follow beside messages of one byte.
    pub(crate) fn send(&mut self, message: &impl Serialize, fds: &[RawFd]) -> io::Result<()> {
        if fds.len() > MOST_FDS {
            return Err(too_many(fds.len()));
        }
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= LONGEST)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "the message is too long")
            })?;
        let count = u32::try_from(fds.len()).expect("it is no more than the most");
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&count.to_le_bytes());
        let (beside, rest) = fds.split_at(fds.len().min(AT_ONCE));
        // One call, so that whoever waits is woken once.
        let sent = self.send_beside(&[IoSlice::new(&head), IoSlice::new(&body)], beside)?;
        self.0.write_all(&head[sent.min(HEAD)..])?;
        self.0.write_all(&body[sent.saturating_sub(HEAD)..])?;
        for beside in rest.chunks(AT_ONCE) {
            self.send_beside(&[IoSlice::new(&[0])], beside)?;
        }
        Ok(())
    }

    fn send_beside(&self, parts: &[IoSlice<'_>], fds: &[RawFd]) -> io::Result<usize> {
        let rights = [ControlMessage::ScmRights(fds)];
        let beside = if fds.is_empty() { &[][..] } else { &rights[..] };
        loop {
            let socket = self.0.as_raw_fd();
            match sendmsg::<UnixAddr>(socket, parts, beside, MsgFlags::MSG_NOSIGNAL, None) {
                Err(Errno::EINTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    /// The next message; `None` when the other end closed.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut head = [0; HEAD];
        let (got, mut fds) = self.receive_beside(&mut head)?;
        if got == 0 {
            return Ok(None);
        }
        self.0.read_exact(&mut head[got..])?;
        let [a, b, c, d, e, f, g, h] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let count = u32::from_le_bytes([e, f, g, h]) as usize;
        if length > LONGEST || count > MOST_FDS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the message is too long",
            ));
        }
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body)?;
        while fds.len() < count {
            let (got, more) = self.receive_beside(&mut [0])?;
            if got == 0 || more.is_empty() {
                return Err(lost_fds());
            }
            fds.extend(more);
        }
        Ok(Some((serde_json::from_slice(&body)?, fds)))
    }

    fn receive_beside(&self, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = nix::cmsg_space!([RawFd; AT_ONCE]);
        loop {
            let mut into = [IoSliceMut::new(bytes)];
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
                return Err(lost_fds());
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

/// What drivers share, together.
pub(super) fn shared(labels: Vec<String>, fds: Vec<OwnedFd>) -> Vec<Shared> {
    let all = labels.into_iter().zip(fds);
    all.map(|(label, fd)| Shared { label, fd }).collect()
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

fn lost_fds() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "descriptors beside a message were lost",
    )
}

fn too_many(count: usize) -> io::Error {
    let text = format!("{count} descriptors were to be sent, and a message takes {MOST_FDS}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Far beyond any plan; a length above it is not from us.
const LONGEST: u32 = 16 << 20;
/// The length of a message and the number of its descriptors.
const HEAD: usize = 8;
/// The kernel lets no more pass beside one message (`SCM_MAX_FD` of include/net/scm.h).
const AT_ONCE: usize = 253;
/// Far beyond any plan, and what the parking place takes without a reader.
const MOST_FDS: usize = 16 * AT_ONCE;

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
        let done = Reply::Done {
            lifelines: tags,
            shared: Vec::new(),
        };
        a.send(&done, &fds).unwrap();
        drop((writer, lines));
        let (reply, fds) = b.receive::<Reply>().unwrap().unwrap();
        let Reply::Done {
            lifelines: tags, ..
        } = reply
        else {
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
    fn more_descriptors_than_the_kernel_takes_at_once_arrive_and_far_more_are_an_error() {
        let (mut a, mut b) = pair();
        let (_reader, writer) = io::pipe().unwrap();
        for count in [AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 7, 0] {
            // Unread meanwhile, as what is parked is.
            a.send(&Request::Retire, &vec![writer.as_raw_fd(); count])
                .unwrap();
            a.send(&Request::Release, &[]).unwrap();
            let (first, fds) = b.receive::<Request>().unwrap().unwrap();
            assert_eq!((first, fds.len()), (Request::Retire, count));
            let (next, fds) = b.receive::<Request>().unwrap().unwrap();
            assert_eq!((next, fds.len()), (Request::Release, 0));
        }
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
        a.write_all(&[0xff; HEAD]).unwrap();
        let error = b.receive::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_message_cut_short_is_an_error() {
        let (a, mut b) = pair();
        let Wire(mut a) = a;
        a.write_all(&[9, 0, 0, 0, 0, 0, 0, 0, b'"']).unwrap();
        drop(a);
        let error = b.receive::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
