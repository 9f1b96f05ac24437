//! Why packets are not taken, and how many were not.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a packet is not taken. Every packet that is read is taken, or counted under one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Reason {
    /// It is shorter than its headers say, or longer than it can be.
    Length,
    /// Neither IPv4 nor IPv6.
    Version,
    /// A checksum is wrong.
    Checksum,
    /// No program can have that source.
    Source,
    /// No program can reach that destination, or it is of the engine's own network.
    Destination,
    /// Options or extension headers that would send it elsewhere, or more of them than anybody needs.
    Options,
    /// Fragments that overlap, or that make no packet.
    Fragments,
    /// Fragments whose other parts did not come in time, or for which there is no room.
    Incomplete,
    /// A protocol that is not steered.
    Protocol,
    /// A segment of no connection.
    NoFlow,
    /// More connections or flows than there is room for.
    Full,
    /// Its hops are used up.
    Hops,
    /// An ICMP message that is about nothing of ours, or of no use.
    Icmp,
    /// A frame that is no packet for the engine.
    Frame,
    /// The device did not take what was written.
    Unwritten,
    /// The device did not give what there was to read.
    Unread,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Length,
        Self::Version,
        Self::Checksum,
        Self::Source,
        Self::Destination,
        Self::Options,
        Self::Fragments,
        Self::Incomplete,
        Self::Protocol,
        Self::NoFlow,
        Self::Full,
        Self::Hops,
        Self::Icmp,
        Self::Frame,
        Self::Unwritten,
        Self::Unread,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::Checksum => "checksum",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Options => "options",
            Self::Fragments => "fragments",
            Self::Incomplete => "incomplete",
            Self::Protocol => "protocol",
            Self::NoFlow => "no-flow",
            Self::Full => "full",
            Self::Hops => "hops",
            Self::Icmp => "icmp",
            Self::Frame => "frame",
            Self::Unwritten => "unwritten",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many packets were not taken, by reason.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Reason::ALL.len()]);

impl Counters {
    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Those that were counted at all.
    pub fn all(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        let each = Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.of(reason)));
        each.filter(|(_, count)| *count > 0)
    }
}
