//! The last word to programs whose packets go to a device, when its reader is gone.
//!
//! ```text
//! conntrack ── flows ─> question ── raw socket ──> program
//!                       reset <─── device's queue <── what it expects
//! ```
//!
//! Elsewhere the kernel resets a dead engine's connections under the addresses that programs know. At
//! a device its resets name the stand-in, and the engine that would rewrite them is dead. Without the
//! rules the program's next bytes would go in clear; so each program is told, while they stand. The
//! sequence number that it believes is asked from itself, which also works for those behind a router.

mod segment;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use nix::unistd::read;
use steer_core::address::Family;
use steer_core::object::{DeviceQueue, Domain, Layer, Object, Offloads};
use steer_core::plan::{Netns, Planned};

use self::segment::{Segment, question, reset};
use crate::drivers::Drivers;
use crate::drivers::netns::within;
use crate::sock_diag::SockDiag;

/// Who connected, and where to.
type Flow = (SocketAddr, SocketAddr);

/// Ends the TCP connections that went by devices of these objects; comes before anything is removed,
/// and only when nobody else reads the devices any more.
///
/// What does not answer within a moment is ended from this side where its socket is of this host.
pub(super) fn say(drivers: &Drivers, objects: &[Planned]) {
    for (netns, flows) in drivers.flows_by_device(objects) {
        if flows.is_empty() {
            continue;
        }
        let flows: HashSet<Flow> = flows.into_iter().collect();
        let mut queues = queues(drivers, objects, &netns);
        let told = within(Domain::Device, &netns, || {
            let silent = tell(&flows, &mut queues).unwrap_or_else(|error| {
                tracing::warn!(%error, "steered connections cannot be reset under their addresses");
                flows.clone()
            });
            // One that answered with what it sent long before was told a number that is over.
            let mistold: HashSet<Flow> = here(&flows)?.difference(&silent).copied().collect();
            if !mistold.is_empty() {
                tell(&mistold, &mut queues)?;
            }
            end(&flows)
        });
        match told {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "steered connections are not ended"),
            Err(error) => tracing::warn!(%error, "steered connections are not ended"),
        }
    }
}

/// Waits until the engine, which lives, has read what its sockets said last: their resets are in the
/// queues of the devices, and reach nobody once those are gone. Whom a full queue has kept one from is
/// ended here.
pub(super) fn settle(drivers: &Drivers, objects: &[Planned]) {
    let is_device = |planned: &Planned| planned.object.domain() == Domain::Device;
    if !objects.iter().any(is_device) {
        return;
    }
    let lines = drivers.lifelines().unwrap_or_default().into_iter();
    let queues: Vec<OwnedFd> = lines
        .filter(|line| line.domain == Domain::Device)
        .map(|line| line.fd)
        .collect();
    let until = Instant::now() + SETTLED_BY;
    let mut quiet = 0;
    while quiet < QUIET && Instant::now() < until {
        let mut fds: Vec<PollFd<'_>> = queues
            .iter()
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
            .collect();
        let waits = |fd: &PollFd<'_>| {
            fd.revents()
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
        };
        match poll(&mut fds, 0u8) {
            Ok(ready) if ready > 0 && fds.iter().any(waits) => quiet = 0,
            _ => quiet += 1,
        }
        drop(fds);
        // What was read last is still on its way back.
        thread::sleep(STEP);
    }
    for (netns, flows) in drivers.flows_by_device(objects) {
        let flows = flows.into_iter().collect();
        let ended = within(Domain::Device, &netns, || end(&flows));
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!(?ended, "steered connections are not ended");
        }
    }
}

/// A queue of a device, and how many bytes are before its packets.
struct Queue {
    fd: OwnedFd,
    before: usize,
}

fn queues(drivers: &Drivers, objects: &[Planned], netns: &Netns) -> Vec<Queue> {
    let frames: BTreeSet<&str> = objects
        .iter()
        .filter_map(|planned| match &planned.object {
            Object::Device(device) if device.layer == Layer::Ethernet => Some(&*device.name),
            _ => None,
        })
        .collect();
    let lines = drivers.lifelines().unwrap_or_default().into_iter();
    let lines = lines.filter(|line| line.domain == Domain::Device && line.netns == *netns);
    lines
        .filter_map(|line| {
            let label: DeviceQueue = line.label.parse().ok()?;
            let offload = match label.offloads {
                Offloads::None => 0,
                Offloads::Checksum | Offloads::Tso | Offloads::Uso => OFFLOAD_HEADER,
            };
            let link = match frames.contains(&*label.name) {
                true => FRAME_HEADER,
                false => 0,
            };
            // Nobody else reads it, and whoever waits for it would wait for ever.
            let flags = fcntl(&line.fd, FcntlArg::F_GETFL).ok()?;
            let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
            fcntl(&line.fd, FcntlArg::F_SETFL(flags)).ok()?;
            Some(Queue {
                fd: line.fd,
                before: offload + link,
            })
        })
        .collect()
}

/// Asks each flow's client what it expects, and resets it there; gives those that said nothing.
fn tell(flows: &HashSet<Flow>, queues: &mut Vec<Queue>) -> io::Result<HashSet<Flow>> {
    let out = Out::open()?;
    let mut silent = flows.clone();
    let mut buffer = vec![0; LONGEST];
    // What one expects by chance, the other is far from.
    for sequence in [0, 1 << 31] {
        let asked: Vec<Flow> = silent.iter().copied().collect();
        for some in asked.chunks(AT_ONCE) {
            for (client, server) in some {
                out.send(*client, &question(*server, *client, sequence));
            }
            // Answers of this host are there already; those of others are waited for below.
            listen(queues, Duration::ZERO, &mut buffer, |segment| {
                answer(&out, flows, &mut silent, segment);
            });
        }
        let end = Instant::now() + PATIENCE;
        while !silent.is_empty()
            && let Some(left) = end.checked_duration_since(Instant::now())
            && listen(queues, left, &mut buffer, |segment| {
                answer(&out, flows, &mut silent, segment);
            })
        {}
    }
    Ok(silent)
}

/// Resets whoever goes on with a connection that was taken.
fn answer(out: &Out, flows: &HashSet<Flow>, silent: &mut HashSet<Flow>, segment: Segment) {
    let Segment {
        from,
        to,
        expects,
        opens,
        resets,
    } = segment;
    let flow = (from, to);
    if !flows.contains(&flow) {
        return;
    }
    if let (Some(sequence), false) = (expects, resets) {
        out.send(from, &reset(to, from, sequence));
    }
    // One that opens has nothing to lose; it does so again when the rules are gone.
    if expects.is_some() || resets || opens {
        silent.remove(&flow);
    }
}

/// Reads what has come to the queues, or comes within the time; `false` where nothing does.
fn listen(
    queues: &mut Vec<Queue>,
    time: Duration,
    buffer: &mut [u8],
    mut each: impl FnMut(Segment),
) -> bool {
    let mut fds: Vec<PollFd<'_>> = queues
        .iter()
        .map(|queue| PollFd::new(queue.fd.as_fd(), PollFlags::POLLIN))
        .collect();
    let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    if !matches!(poll(&mut fds, millis), Ok(ready) if ready > 0) {
        return false;
    }
    drop(fds);
    queues.retain(|queue| {
        // Bounded: whoever sends on without end must not keep the rules in force.
        for _ in 0..AT_ONCE * 2 {
            match read(&queue.fd, buffer) {
                Ok(length) => {
                    let packet = buffer.get(queue.before..length).unwrap_or_default();
                    if let Some(segment) = Segment::read(packet) {
                        each(segment);
                    }
                }
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return true,
                // Somebody has removed the device.
                Err(_) => return false,
            }
        }
        true
    });
    !queues.is_empty()
}

/// Those whose socket is here and has not ended; what was sent to it just now may be on its way.
fn here(flows: &HashSet<Flow>) -> io::Result<HashSet<Flow>> {
    let diag = SockDiag::open()?;
    let mut found = HashSet::new();
    for _ in 0..LOOKS {
        let all = diag.tcp()?.into_iter();
        found = all
            .filter(|one| !one.listens && !one.opens)
            .map(|one| (one.local, one.peer))
            .filter(|flow| flows.contains(flow))
            .collect();
        if found.is_empty() {
            break;
        }
        thread::sleep(STEP);
    }
    Ok(found)
}

/// Ends those that have their socket here, whatever they were told.
fn end(left: &HashSet<Flow>) -> io::Result<()> {
    let diag = SockDiag::open()?;
    for one in diag.tcp()? {
        let taken = !one.listens && !one.opens && left.contains(&(one.local, one.peer));
        if taken {
            diag.reset(&one)?;
        }
    }
    Ok(())
}

/// Sockets that send packets as they are, from whatever address.
struct Out([(Family, OwnedFd); 2]);

impl Out {
    fn open() -> io::Result<Self> {
        let open = |family: AddressFamily| {
            // Of this protocol, the kernel takes the header from the sender (raw(7)).
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(family, SockType::Raw, flags, SockProtocol::Raw)
        };
        Ok(Self([
            (Family::V4, open(AddressFamily::Inet)?),
            (Family::V6, open(AddressFamily::Inet6)?),
        ]))
    }

    /// Whoever cannot be reached is not told.
    fn send(&self, to: SocketAddr, packet: &[u8]) {
        let family = Family::of(to.ip());
        // A port would be a protocol here.
        let address = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
        for (_, fd) in self.0.iter().filter(|(of, _)| *of == family) {
            let _ = sendto(fd.as_raw_fd(), packet, &address, MsgFlags::empty());
        }
    }
}

/// How often the queues are seen empty before what was in them counts as passed on, and how long
/// between two looks.
const QUIET: u32 = 4;
const STEP: Duration = Duration::from_millis(5);
/// How often sockets are looked for that have been told.
const LOOKS: u32 = 6;
/// A host that goes on sending must not keep its own end waiting.
const SETTLED_BY: Duration = Duration::from_secs(2);
/// How many are asked before their answers are read: a device's queue has 500 places.
const AT_ONCE: usize = 100;
/// How long the silent are waited for, twice; a program's kernel answers strange segments at most
/// twice a second.
const PATIENCE: Duration = Duration::from_millis(550);
/// What the kernel gives at once, with what is before it.
const LONGEST: usize = (1 << 16) + 64;
/// A `struct virtio_net_hdr`.
const OFFLOAD_HEADER: usize = 10;
const FRAME_HEADER: usize = 14;
