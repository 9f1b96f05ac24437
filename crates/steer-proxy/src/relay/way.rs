//! One direction of a relayed connection.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::fcntl::{SpliceFFlags, splice};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

use super::buffers::{self, Buffer};
use super::leg::Leg;
use super::pipes::{self, Pipe};
use super::traffic::Counter;
use crate::sniff::Sniffer;

/// Why a way cannot go on, by the leg that failed.
#[derive(Debug)]
pub(super) enum Break {
    /// The leg that is read.
    Source(io::Error),
    /// The leg that is written.
    Sink(io::Error),
}

/// What one side sends, on its way to the other.
#[derive(Debug, Default)]
pub(super) struct Way {
    cargo: Cargo,
    mode: Mode,
    state: State,
    unflushed: bool,
}

/// Bytes read and not yet delivered.
#[derive(Debug, Default)]
enum Cargo {
    #[default]
    None,
    Buffer {
        buffer: Buffer,
        from: usize,
        to: usize,
    },
    Pipe {
        pipe: Pipe,
        left: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Read and write; `bulk` bytes came in large reads without a small one between.
    Copy { bulk: usize },
    /// Through a pipe; the last `small` moves were small.
    Splice { small: u8 },
    /// Read and write for good: splice(2) refused this socket.
    CopyOnly,
}

impl Default for Mode {
    fn default() -> Self {
        Self::Copy { bulk: 0 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source has ended; the sink has yet to be told.
    Ending,
    Ended,
}

impl Way {
    /// A way that delivers `bytes` before it reads.
    pub(super) fn starting_with(bytes: Vec<u8>) -> Self {
        let to = bytes.len();
        let cargo = if to == 0 {
            Cargo::None
        } else {
            Cargo::Buffer {
                buffer: bytes.into_boxed_slice(),
                from: 0,
                to,
            }
        };
        Self {
            cargo,
            ..Self::default()
        }
    }

    /// Whether the source has ended, all is delivered and the sink was told.
    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether bytes wait for a sink that takes no more.
    pub(super) fn is_stalled(&self) -> bool {
        !matches!(self.cargo, Cargo::None)
    }

    /// Moves bytes until one leg would block or the way has ended.
    ///
    /// `last` says that the other way has ended, so that the coming close of a socket tells its
    /// peer and a shutdown would be a wasted call.
    pub(super) fn poll<S: Leg, T: Leg>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        moved: Counter<'_>,
        tap: &mut Option<&mut Sniffer>,
        last: bool,
    ) -> Poll<Result<(), Break>> {
        let mut moves = 0;
        loop {
            ready!(self.poll_deliver(cx, sink, moved)).map_err(Break::Sink)?;
            match self.state {
                State::Open if moves == TURN => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Open => {
                    moves += 1;
                    let fetched = self
                        .poll_fetch(cx, source, sink, tap)
                        .map_err(Break::Source)?;
                    if fetched.is_pending() {
                        ready!(self.poll_flush(cx, sink)).map_err(Break::Sink)?;
                        return Poll::Pending;
                    }
                }
                State::Ending => {
                    if !(last && sink.tcp().is_some()) {
                        ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Break::Sink)?;
                    }
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_deliver<T: Leg>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut T,
        moved: Counter<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.cargo {
                Cargo::None => return Poll::Ready(Ok(())),
                Cargo::Buffer { buffer, from, to } => {
                    let n = ready!(Pin::new(&mut *sink).poll_write(cx, &buffer[*from..*to]))?;
                    if n == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    moved.add(n);
                    *from += n;
                    self.unflushed = true;
                    if from < to {
                        continue;
                    }
                }
                Cargo::Pipe { pipe, left } => {
                    let socket = sink.tcp().expect("only sockets are spliced");
                    let n = ready!(poll_splice_out(cx, pipe, socket, *left))?;
                    if n == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    moved.add(n);
                    *left -= n;
                    if *left > 0 {
                        continue;
                    }
                }
            }
            match std::mem::take(&mut self.cargo) {
                Cargo::None => {}
                Cargo::Buffer { buffer, .. } => buffers::give(buffer),
                Cargo::Pipe { pipe, .. } => pipes::give(pipe),
            }
        }
    }

    /// Reads once: leaves cargo, or the state `Ending`, or another mode.
    fn poll_fetch<S: Leg, T: Leg>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &T,
        tap: &mut Option<&mut Sniffer>,
    ) -> Poll<io::Result<()>> {
        match self.mode {
            Mode::Splice { small } => {
                let socket = source.tcp().expect("only sockets are spliced");
                ready!(self.poll_splice_in(cx, socket, small))?;
            }
            Mode::Copy { .. } | Mode::CopyOnly => {
                let mut buffer = buffers::take();
                let mut read = ReadBuf::new(&mut buffer);
                let polled = Pin::new(&mut *source).poll_read(cx, &mut read);
                let n = read.filled().len();
                if !matches!(polled, Poll::Ready(Ok(()))) || n == 0 {
                    buffers::give(buffer);
                    ready!(polled)?;
                    self.state = State::Ending;
                    return Poll::Ready(Ok(()));
                }
                if let Some(sniffer) = tap
                    && sniffer.push(&buffer[..n]).is_decided()
                {
                    *tap = None;
                }
                self.cargo = Cargo::Buffer {
                    buffer,
                    from: 0,
                    to: n,
                };
                if let Mode::Copy { bulk } = self.mode {
                    self.mode = after_copy(bulk, n, source.tcp().is_some() && sink.tcp().is_some());
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        small: u8,
    ) -> Poll<io::Result<()>> {
        ready!(socket.poll_read_ready(cx))?;
        let Some(pipe) = pipes::take() else {
            self.mode = Mode::default();
            return Poll::Ready(Ok(()));
        };
        let moved = socket.try_io(Interest::READABLE, || {
            Ok(splice(
                socket,
                None,
                &pipe.write,
                None,
                pipe.capacity,
                flags(),
            )?)
        });
        match moved {
            Ok(0) => {
                self.state = State::Ending;
                pipes::give(pipe);
            }
            Ok(n) => {
                self.mode = after_splice(small, n);
                self.cargo = Cargo::Pipe { pipe, left: n };
            }
            Err(error) => {
                pipes::give(pipe);
                match error.kind() {
                    // try_io has cleared the readiness: the next poll registers for more.
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
                        self.mode = Mode::CopyOnly
                    }
                    _ => return Poll::Ready(Err(error)),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells a sink that buffers by itself (TLS) that nothing more follows for the moment.
    fn poll_flush<T: Leg>(&mut self, cx: &mut Context<'_>, sink: &mut T) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Moves after which a way lets others have the thread: at most 4 MiB, about a millisecond.
const TURN: u32 = 16;

/// Bytes in large reads after which a direction counts as bulk.
const BULK: usize = 1024 * 1024;

/// A move of fewer bytes is cheaper to copy than to splice.
const LARGE: usize = 16 * 1024;

/// Small moves in a row after which a bulk direction is copied again.
const LULL: u8 = 8;

fn after_copy(bulk: usize, read: usize, spliceable: bool) -> Mode {
    match read {
        ..LARGE => Mode::default(),
        _ if spliceable && bulk + read >= BULK => Mode::Splice { small: 0 },
        _ => Mode::Copy {
            bulk: (bulk + read).min(BULK),
        },
    }
}

fn after_splice(small: u8, moved: usize) -> Mode {
    match (moved, small + 1) {
        (LARGE.., _) => Mode::Splice { small: 0 },
        (_, LULL..) => Mode::default(),
        (_, small) => Mode::Splice { small },
    }
}

/// Asks for at most `left` bytes: a longer request would set MSG_MORE on the last segment, which
/// TCP then holds back for up to 200 ms.
fn poll_splice_out(
    cx: &mut Context<'_>,
    pipe: &Pipe,
    socket: &TcpStream,
    left: usize,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, || {
            Ok(splice(&pipe.read, None, socket, None, left, flags())?)
        }) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            result => return Poll::Ready(result),
        }
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}
