//! What an agent and its test say to each other: words, bytes, and sometimes a descriptor.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::sys::receive_descriptor;

/// A request, or the answer to one.
#[derive(Debug)]
pub(super) struct Message {
    /// Words, separated by spaces.
    pub(super) words: String,
    /// Whatever the words are about.
    pub(super) bytes: Vec<u8>,
    /// A socket that the agent has made.
    pub(super) socket: Option<OwnedFd>,
}

impl Message {
    pub(super) fn of_words(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            bytes: Vec::new(),
            socket: None,
        }
    }

    pub(super) fn with_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { bytes, ..self }
    }

    pub(super) fn write(&self, mut link: &UnixStream) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_ne_bytes();
        let head = [length(self.words.as_bytes()), length(&self.bytes)].concat();
        match &self.socket {
            // A plain write: whoever watches an agent's calls may be dead, and then nobody lets it
            // send messages.
            None => link.write_all(&head)?,
            Some(socket) => {
                let passed = [socket.as_raw_fd()];
                let control = [ControlMessage::ScmRights(&passed)];
                let data = [IoSlice::new(&head)];
                let flags = MsgFlags::empty();
                let sent = sendmsg::<()>(link.as_raw_fd(), &data, &control, flags, None)?;
                assert_eq!(sent, head.len(), "a socket takes a few bytes at once");
            }
        }
        link.write_all(self.words.as_bytes())?;
        link.write_all(&self.bytes)
    }

    /// The next message, or `None` at the end.
    pub(super) fn read(mut link: &UnixStream) -> io::Result<Option<Self>> {
        let mut head = [0; 8];
        let (count, socket) = receive_descriptor(link.as_fd(), &mut IoSliceMut::new(&mut head))?;
        if count == 0 {
            return Ok(None);
        }
        link.read_exact(&mut head[count..])?;
        let mut part = |at: usize| {
            let length = head[at..at + 4].try_into().expect("four bytes");
            let mut part = vec![0; u32::from_ne_bytes(length) as usize];
            link.read_exact(&mut part).map(|()| part)
        };
        let words = String::from_utf8(part(0)?).expect("both sides write text");
        let bytes = part(4)?;
        Ok(Some(Self {
            words,
            bytes,
            socket,
        }))
    }
}
