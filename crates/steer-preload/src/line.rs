//! A question of the library on its way: one connection of the control listener.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::wire::{NAME, REQUEST, Reply, Request};

/// The number of an error.
pub(crate) fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

/// A connection of the control listener.
#[derive(Debug)]
pub(crate) struct Line(UnixStream);

/// What the library said.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The question.
    pub(crate) request: Request,
    /// The name in it.
    pub(crate) name: Vec<u8>,
    /// A duplicate of the program's socket.
    pub(crate) socket: Option<OwnedFd>,
}

impl Line {
    pub(crate) const fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The next thing that the library says; nothing where it has no more to say. Cancel safe.
    pub(crate) async fn hear(&self) -> io::Result<Option<Heard>> {
        self.0.async_io(Interest::READABLE, || self.receive()).await
    }

    /// Answers. A few bytes into an empty socket never wait.
    pub(crate) fn say(&self, reply: Reply) -> io::Result<()> {
        let bytes = reply.encode();
        match self.0.try_write(&bytes)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// What the library writes at once arrives at once.
    fn receive(&self) -> io::Result<Option<Heard>> {
        let mut bytes = [0; REQUEST + NAME];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut rights,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let socket = rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        let (head, name) = bytes[..received.bytes]
            .split_first_chunk::<REQUEST>()
            .ok_or(io::ErrorKind::InvalidData)?;
        let request = Request::decode(head).ok_or(io::ErrorKind::InvalidData)?;
        if name.len() != usize::from(request.name) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(Heard {
            request,
            name: name.to_vec(),
            socket,
        }))
    }
}
