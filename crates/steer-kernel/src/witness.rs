//! A witness of what leaves: packets counted by rules of its own, beside those that steer.
//!
//! ```text
//! Witness::of_cgroup    ── output ─ of the cgroup ──┬─> counted
//! Witness::of_namespace ── output ─ of anybody ─────┘     │ past the boundary
//!                                                         └─> left (protocol, destination, port)
//! Witness::read ──> Tally
//! ```
//!
//! The rules are in a table of their own, `steer_<instance>_witness`, that the kernel removes with
//! the witness: nobody else can change it, and nothing of it stays. They change no packet.

mod error;
mod interfaces;
mod rules;
mod tally;

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use steer_core::address::Family;
use steer_core::instance::Instance;
use steer_core::mark::Mark;

pub use error::WitnessError;
pub use interfaces::interfaces;
pub use tally::{Left, Tally};

use crate::cgroup::CgroupTree;
use crate::nft::set::Counts;
use crate::nft::socket::{Batch, Netlink, Refused};

/// Counts the packets of a command that leave by themselves.
///
/// What is not seen: frames that a privileged program writes to a packet socket (packet(7)), and
/// what it forwards from a network namespace that it made and joined to this one.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let instance = steer_core::instance::Instance::new("main")?;
/// use steer_kernel::witness::Witness;
///
/// let mut witness = Witness::of_cgroup(&instance, "user.slice/steer-main", None)?;
/// // … the command runs in the cgroup …
/// for left in witness.read()?.left {
///     println!("escaped: {left}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Witness {
    socket: Netlink,
    table: String,
}

/// What a packet of a whole namespace has left by.
#[derive(Clone, Copy, Debug)]
pub enum Boundary<'a> {
    /// An interface that is not `lo`, nor one of these: devices whose packets the engine reads.
    Interface {
        /// Their names.
        own: &'a [&'a str],
    },
    /// Its destination, which is neither a loopback address nor one of these: it is counted when it
    /// is sent, whether it then gets anywhere or not. Packets with the mark are none of the command's.
    Destination {
        /// The namespace's own addresses.
        own: &'a [IpAddr],
        /// What the engine's sockets carry.
        bypass: Mark,
    },
}

impl Witness {
    /// A witness of what the processes of a cgroup send, in the network namespace of the calling
    /// thread. `steered` marks packets on their way to a transparent engine.
    ///
    /// # Errors
    /// It needs CAP_NET_ADMIN, and the cgroup.
    pub fn of_cgroup(
        instance: &Instance,
        cgroup: &str,
        steered: Option<Mark>,
    ) -> Result<Self, WitnessError> {
        let whose = CgroupTree::open().and_then(|tree| {
            let cgroup = tree.cgroup(cgroup)?;
            Ok((cgroup.level(), cgroup.id()?))
        });
        let (level, id) = whose.map_err(WitnessError::Cgroup)?;
        let socket = Netlink::open().map_err(Refused::from);
        let socket = socket.map_err(WitnessError::Begin)?;
        Self::begin(socket, instance, |batch, table| {
            rules::of_cgroup(batch, table, (level, id), steered);
        })
    }

    /// A witness of what anybody sends in the network namespace in which this netlink socket
    /// (`SocketKind::Filter` of `steer_core::netns`) was opened, without an address yet.
    ///
    /// # Errors
    /// The caller and whoever opened the socket need CAP_NET_ADMIN over the namespace.
    pub fn of_namespace(
        instance: &Instance,
        netlink: OwnedFd,
        boundary: &Boundary<'_>,
    ) -> Result<Self, WitnessError> {
        let socket = Netlink::adopt_unbound(netlink).map_err(Refused::from);
        let socket = socket.map_err(WitnessError::Begin)?;
        Self::begin(socket, instance, |batch, table| {
            rules::of_namespace(batch, table, boundary);
        })
    }

    fn begin(
        mut socket: Netlink,
        instance: &Instance,
        fill: impl Fn(&mut Batch, &str),
    ) -> Result<Self, WitnessError> {
        let table = format!("steer_{instance}_witness");
        let mut batch = Batch::default();
        rules::push_table(&mut batch, instance, &table);
        fill(&mut batch, &table);
        again(|| {
            let generation = socket.generation()?;
            socket.commit(generation, &batch)
        })
        .map_err(WitnessError::Begin)?;
        Ok(Self { socket, table })
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn read(&mut self) -> Result<Tally, WitnessError> {
        let Self { socket, table } = self;
        let mut read = |counts: Counts, name: &str| {
            again(|| counts.read(socket, table, name)).map_err(WitnessError::Read)
        };
        let counted = read(Counts::Protocol, rules::COUNTED)?;
        let left = read(Counts::Protocol, rules::LEFT)?;
        let mut listed = Vec::new();
        for family in Family::ALL {
            let name = rules::destinations(family);
            listed.extend(read(Counts::Destination(family), name)?);
        }
        Ok(Tally::of(&counted, &left, &listed))
    }
}

/// Tries again whenever another program changes rules in between.
fn again<T>(mut attempt: impl FnMut() -> Result<T, Refused>) -> Result<T, Refused> {
    for _ in 0..TURNS {
        match attempt() {
            Err(Refused::Raced) => {}
            done => return done,
        }
    }
    Err(Refused::Raced)
}

/// How often something is tried while other programs change rules too.
const TURNS: u32 = 64;
