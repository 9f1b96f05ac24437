//! The threads that read a device.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::failing::{Failing, Then};
use super::{Path, Ways};
use crate::flows::SWEEP_EVERY;
use crate::packet::Reason;
use crate::port::{Port, Room};
use crate::segment::{Segment, Taken};
use crate::wire::Hop;

/// Whose packets come in at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients' alone.
    Outer,
    /// The kernel's own end's alone.
    Inner,
    /// Both.
    Both,
}

/// A port that is read, and the ports that are written to.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Whose packets come in.
    pub side: Side,
    /// Where they come in.
    pub port: Arc<Port>,
    /// The way to the clients.
    pub outer: Arc<Port>,
    /// The way to the kernel's own end.
    pub inner: Arc<Port>,
}

/// The threads that read a device, until it is gone.
pub struct Running {
    path: Arc<Path>,
    threads: Vec<thread::JoinHandle<()>>,
    link: Option<Arc<Link>>,
}

impl Path {
    /// Starts a thread for each lane; of a device with a link layer, `segment` is the link.
    ///
    /// # Errors
    /// A thread cannot be started. Those that were run on until the device is gone.
    pub fn start(self, lanes: Vec<Lane>, segment: Option<&Arc<Segment>>) -> io::Result<Running> {
        let path = Arc::new(self);
        // Closed with the last thread that reads.
        let (reads_tx, reads) = sync_channel(0);
        let mut threads = Vec::new();
        let link = segment.zip(lanes.first()).map(|(segment, lane)| {
            Arc::new(Link {
                path: Arc::clone(&path),
                segment: Arc::clone(segment),
                outer: Arc::clone(&lane.outer),
                is_left: AtomicBool::new(false),
            })
        });
        let chores = Chores {
            path: Arc::clone(&path),
            link: link.clone(),
        };
        for (number, lane) in lanes.into_iter().enumerate() {
            let reader = Reader {
                path: Arc::clone(&path),
                segment: segment.cloned().filter(|_| lane.side == Side::Outer),
                lane,
                link: link.clone(),
                _reads: reads_tx.clone(),
            };
            let thread = thread::Builder::new().name(format!("steer-path-{number}"));
            threads.push(thread.spawn(move || reader.run())?);
        }
        let thread = thread::Builder::new().name("steer-sweep".to_owned());
        thread.spawn(move || chores.run(&reads))?;
        Ok(Running {
            path,
            threads,
            link,
        })
    }
}

impl Running {
    /// What the threads work with.
    #[must_use]
    pub const fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Has the stations of the link know that nothing should begin by it, and that it is no way at all
    /// once nothing is under way.
    pub fn leave(&self) {
        if let Some(link) = &self.link {
            link.is_left.store(true, Ordering::Relaxed);
            link.part();
        }
    }

    /// Whether no thread reads any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(thread::JoinHandle::is_finished)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

/// One thread's.
struct Reader {
    path: Arc<Path>,
    lane: Lane,
    segment: Option<Arc<Segment>>,
    link: Option<Arc<Link>>,
    _reads: SyncSender<()>,
}

impl Reader {
    fn run(&self) {
        let mut room = Room::new();
        let mut failing = Failing::default();
        let name = self.lane.port.name();
        loop {
            let error = match self.next(&mut room) {
                Ok(()) => {
                    failing.is_over();
                    if let Some(link) = &self.link {
                        link.look();
                    }
                    continue;
                }
                Err(error) => error,
            };
            match failing.because_of(&error) {
                Then::Wait => {
                    let fd = PollFd::new(self.lane.port.as_fd(), PollFlags::POLLIN);
                    // An error of the poll comes again at the next read.
                    let _ = poll(&mut [fd], PollTimeout::NONE);
                }
                Then::Stop => {
                    tracing::debug!(name, "the device is gone");
                    return;
                }
                Then::GoOn(pause) => {
                    self.path.counters.count(Reason::Unread);
                    if failing.is_to_be_told() {
                        tracing::warn!(
                            name,
                            %error,
                            help = "start again if its clients have no way",
                            "a queue of the device can hardly be read"
                        );
                    }
                    thread::sleep(pause);
                }
            }
        }
    }

    /// Reads a packet, and sees to it.
    fn next(&self, room: &mut Room) -> io::Result<()> {
        let Lane {
            side,
            port,
            outer,
            inner,
        } = &self.lane;
        let Some(offload) = port.read(room)? else {
            self.path.counters.count(Reason::Length);
            return Ok(());
        };
        let now = Instant::now();
        let frame = room.frame();
        let (hop, at) = match &self.segment {
            None => (Hop::Host, 0),
            Some(segment) => {
                let mut answer = |frame: &[u8]| self.send(frame);
                match segment.take(frame, &offload, now, &mut answer) {
                    Taken::Packet { hop, at } => (hop, at),
                    Taken::Answered => return Ok(()),
                    Taken::Refused(reason) => {
                        self.path.counters.count(reason);
                        return Ok(());
                    }
                }
            }
        };
        let ways = Ways {
            side: *side,
            outer: &**outer,
            inner: &**inner,
        };
        let packet = frame.get_mut(at..).unwrap_or_default();
        self.path.take(&ways, packet, offload, hop, now)
    }

    fn send(&self, frame: &[u8]) {
        if self.lane.outer.send_frame(frame).is_err() {
            self.path.counters.count(Reason::Unwritten);
        }
    }
}

/// What is done now and then.
struct Chores {
    path: Arc<Path>,
    link: Option<Arc<Link>>,
}

/// The link, to be told things unasked.
struct Link {
    path: Arc<Path>,
    segment: Arc<Segment>,
    outer: Arc<Port>,
    /// Whether nothing is to begin by it.
    is_left: AtomicBool,
}

impl Link {
    fn sweep(&self, now: Instant) {
        self.segment.sweep(now, &mut |frame| self.send(frame));
        self.look();
    }

    /// Parts from a link that is left, where the last connection has ended: the device goes soon after.
    fn look(&self) {
        if self.is_left.load(Ordering::Relaxed) {
            self.part();
        }
    }

    fn part(&self) {
        let mut answer = |frame: &[u8]| self.send(frame);
        match self.path.flows().is_empty() {
            true => self.segment.close(&mut answer),
            false => self.segment.leave(&mut answer),
        }
    }

    fn send(&self, frame: &[u8]) {
        if self.outer.send_frame(frame).is_err() {
            self.path.counters.count(Reason::Unwritten);
        }
    }
}

impl Chores {
    fn run(self, reads: &Receiver<()>) {
        while reads.recv_timeout(SWEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            self.path.sweep(now);
            if let Some(link) = &self.link {
                link.sweep(now);
            }
        }
        for (reason, count) in self.path.counters.all() {
            tracing::debug!(%reason, count, "packets were not taken");
        }
    }
}
