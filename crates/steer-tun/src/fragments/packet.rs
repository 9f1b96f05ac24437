//! The fragments of one packet.

use std::collections::BTreeMap;

use steer_core::address::Family;

use super::PIECE;
use crate::packet::{Fragment, Parsed, Reason, checksum};

/// The fragments of a packet that came.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    front: Option<Front>,
    /// By their offsets.
    pieces: BTreeMap<usize, Box<[u8]>>,
    /// How many bytes they have together.
    bytes: usize,
    /// Where the last one ends.
    end: Option<usize>,
    spoiled: bool,
}

/// What a fragment did.
#[derive(Debug)]
pub(super) enum Added {
    /// Others are missing.
    Waits,
    /// The same one came before.
    Known,
    /// It made the packet whole, unless that is too long.
    Whole(Result<Vec<u8>, Reason>),
    /// The packet is given up.
    Spoiled,
}

/// The headers of a packet, of which each fragment has a copy and the first one's counts.
#[derive(Debug)]
pub(super) struct Front(Box<[u8]>, Family);

impl Pieces {
    /// What it costs to keep them.
    pub(super) fn cost(&self) -> usize {
        let front = self.front.as_ref().map_or(0, Front::len);
        self.bytes + self.pieces.len() * PIECE + front
    }

    pub(super) fn add(&mut self, fragment: Fragment, front: Option<Front>, piece: &[u8]) -> Added {
        if self.spoiled {
            return Added::Spoiled;
        }
        let (start, end) = (fragment.offset, fragment.offset + piece.len());
        if self
            .pieces
            .get(&start)
            .is_some_and(|known| **known == *piece)
        {
            return Added::Known;
        }
        let before = self.pieces.range(..=start).next_back();
        let overlaps_before = before.is_some_and(|(at, known)| at + known.len() > start);
        let overlaps_after = self.pieces.range(start..end).next().is_some();
        let last = self
            .pieces
            .last_key_value()
            .map_or(0, |(at, known)| at + known.len());
        // The last fragment says where the packet ends, once.
        let ends_twice = match (fragment.more, self.end) {
            (true, Some(known)) => end >= known,
            (false, Some(_)) => true,
            (false, None) => last > end,
            (true, None) => false,
        };
        if overlaps_before || overlaps_after || ends_twice {
            *self = Self {
                spoiled: true,
                ..Self::default()
            };
            return Added::Spoiled;
        }
        if !fragment.more {
            self.end = Some(end);
        }
        if front.is_some() {
            self.front = front;
        }
        self.bytes += piece.len();
        self.pieces.insert(start, piece.into());
        match (&self.front, self.end) {
            // They do not overlap, so as many bytes as the last one's end are all of them.
            (Some(front), Some(end)) if self.bytes == end => {
                let mut payload = Vec::with_capacity(end);
                self.pieces
                    .values()
                    .for_each(|piece| payload.extend_from_slice(piece));
                Added::Whole(front.whole(&payload))
            }
            _ => Added::Waits,
        }
    }
}

impl Front {
    /// The headers of a first fragment: all that is before its piece.
    pub(super) fn of(headers: &[u8], parsed: &Parsed) -> Result<Self, Reason> {
        let fragment = parsed.fragment.ok_or(Reason::Fragments)?;
        let mut front = headers.to_vec();
        match parsed.family {
            Family::V4 => {
                // Neither cut nor to be put in a place.
                front.get_mut(6..8).ok_or(Reason::Length)?.fill(0);
            }
            Family::V6 => {
                let length = headers.len().checked_sub(8).ok_or(Reason::Length)?;
                front.truncate(length);
                let next = front.get_mut(fragment.previous).ok_or(Reason::Length)?;
                *next = parsed.transport.number(parsed.family);
            }
        }
        Ok(Self(front.into_boxed_slice(), parsed.family))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The packet with this payload.
    pub(super) fn whole(&self, payload: &[u8]) -> Result<Vec<u8>, Reason> {
        let Self(front, family) = self;
        let mut whole = [front, payload].concat();
        let length = match family {
            Family::V4 => whole.len(),
            Family::V6 => whole.len() - 40,
        };
        let length = u16::try_from(length).map_err(|_| Reason::Fragments)?;
        match family {
            Family::V4 => {
                whole[2..4].copy_from_slice(&length.to_be_bytes());
                whole[10..12].fill(0);
                let sum = !checksum::fold(checksum::sum(&whole[..front.len()]));
                whole[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => whole[4..6].copy_from_slice(&length.to_be_bytes()),
        }
        Ok(whole)
    }
}
