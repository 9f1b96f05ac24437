//! What a server does with a connection.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;
use std::os::fd::AsFd;

use super::{Talk, http};
use crate::client::End;
use crate::pattern::{Digest, Pattern};

/// What a server does with each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// Sends back what it receives, and finishes when the client finishes.
    Echo,
    /// Speaks first: sends these bytes at once, then goes on as [`Self::Echo`].
    Banner(Vec<u8>),
    /// Receives to the end, then answers `DIGEST LENGTH\n` (see [`Digest`]) and finishes.
    Digest,
    /// Sends so many bytes of the pattern, finishes, and receives to the end.
    Source(Pattern, u64),
    /// Resets the connection after the first byte.
    ResetOnFirstByte,
    /// Finishes at once without a word, then receives to the end.
    Finish,
    /// Receives, and never answers.
    Silent,
    /// Never receives, so that the client's sending stalls; sees only how the connection ends.
    Stalled,
    /// Answers HTTP/1.1: any path with the request's head as it came, `/bytes/N` with N bytes of
    /// pattern 0, `/digest` with `DIGEST LENGTH\n` of the request's body.
    Http,
}

impl Service {
    pub(super) fn serve(&self, talk: &mut Talk) -> End {
        self.try_serve(talk).unwrap_or_else(|error| End::of(&error))
    }

    fn try_serve(&self, talk: &mut Talk) -> io::Result<End> {
        match self {
            Self::Echo => echo(talk),
            Self::Banner(banner) => {
                talk.write(banner)?;
                echo(talk)
            }
            Self::Digest => {
                let mut digest = Digest::default();
                receive(talk, |bytes| digest.update(bytes))?;
                talk.write(format!("{digest} {}\n", digest.length()).as_bytes())?;
                talk.finish()?;
                Ok(End::Fin)
            }
            Self::Source(pattern, length) => {
                send_pattern(talk, *pattern, *length)?;
                talk.finish()?;
                receive(talk, |_| ())
            }
            Self::ResetOnFirstByte => {
                talk.read(&mut [0])?;
                SockRef::from(&talk.stream).set_linger(Some(Duration::ZERO))?;
                // The close that resets happens when the caller drops the last handle.
                Ok(End::Closed)
            }
            Self::Finish => {
                talk.finish()?;
                receive(talk, |_| ())
            }
            Self::Silent => receive(talk, |_| ()),
            Self::Stalled => wait_for_end(talk),
            Self::Http => http::serve(talk),
        }
    }
}

fn echo(talk: &mut Talk) -> io::Result<End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match talk.read(&mut buffer)? {
            0 => {
                talk.finish()?;
                return Ok(End::Fin);
            }
            count => talk.write(&buffer[..count])?,
        }
    }
}

fn receive(talk: &mut Talk, mut take: impl FnMut(&[u8])) -> io::Result<End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match talk.read(&mut buffer)? {
            0 => return Ok(End::Fin),
            count => take(&buffer[..count]),
        }
    }
}

pub(super) fn send_pattern(talk: &mut Talk, pattern: Pattern, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < length {
        let count = buffer.len().min((length - offset) as usize);
        pattern.fill(offset, &mut buffer[..count]);
        talk.write(&buffer[..count])?;
        offset += count as u64;
    }
    Ok(())
}

/// Waits without reading until the client finishes or resets.
fn wait_for_end(talk: &Talk) -> io::Result<End> {
    let mut wait = [PollFd::new(
        talk.stream.as_fd(),
        PollFlags::from_bits_retain(libc::POLLRDHUP),
    )];
    poll(&mut wait, PollTimeout::NONE)?;
    match talk.stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(End::Fin),
    }
}
