//! How bytes are read as packets that come one after the other.

use std::time::Duration;

use steer_core::intent::Echo;
use steer_tun::packet::{Offload, checksum};

/// What a run is like, and its packets.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    /// Frames of a link with stations, not packets of a host.
    pub(crate) frames: bool,
    /// The device does what is left to do.
    pub(crate) offloads: bool,
    pub(crate) echo: Echo,
    rest: &'a [u8],
}

/// A packet or frame that comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// It comes from the engine's own kernel, where that has a device of its own.
    pub inner: bool,
    /// The checksum of its IPv4 header is put right, and that of its transport is taken for verified,
    /// so that mutations come further than there.
    pub repaired: bool,
    /// What the device says of it.
    pub header: Option<[u8; Offload::HEADER]>,
    /// How much later it comes than the one before: nothing, a second, 16 seconds, 601 seconds.
    pub later: u8,
    /// What has ended is forgotten afterwards.
    pub sweep: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The input for a device of a host (or of stations), with or without offloads, and these records.
#[must_use]
pub fn write(frames: bool, offloads: bool, records: &[Record]) -> Vec<u8> {
    let mut bytes = vec![u8::from(frames) | u8::from(offloads) << 1];
    for record in records {
        let header = record.header.is_some();
        bytes.push(
            u8::from(record.inner)
                | u8::from(record.repaired) << 1
                | u8::from(header) << 2
                | (record.later & 3) << 3
                | u8::from(record.sweep) << 5,
        );
        let length = u16::try_from(record.bytes.len()).expect("a short packet");
        bytes.extend(length.to_be_bytes());
        bytes.extend(record.header.iter().flatten());
        bytes.extend(&record.bytes);
    }
    bytes
}

impl<'a> Script<'a> {
    pub(crate) fn read(data: &'a [u8]) -> Self {
        let (first, rest) = data.split_first().unwrap_or((&0, &[]));
        Self {
            frames: first & 1 != 0,
            offloads: first & 2 != 0,
            echo: if first & 4 == 0 {
                Echo::Answer
            } else {
                Echo::Refuse
            },
            rest,
        }
    }
}

impl Iterator for Script<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let (&[flags, high, low], rest) = self.rest.split_first_chunk::<3>()?;
        let mut rest = rest;
        let header = if flags & 4 == 0 {
            None
        } else {
            let (header, after) = rest.split_first_chunk()?;
            rest = after;
            Some(*header)
        };
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        self.rest = rest;
        Some(Record {
            inner: flags & 1 != 0,
            repaired: flags & 2 != 0,
            header,
            later: flags >> 3 & 3,
            sweep: flags & 32 != 0,
            bytes: bytes.to_vec(),
        })
    }
}

impl Record {
    pub(crate) fn later(&self) -> Duration {
        Duration::from_secs([0, 1, 16, 601][usize::from(self.later)])
    }

    /// What the device says of it; none where it contradicts itself. `link` is the length of the
    /// link's header.
    pub(crate) fn offload(&self, link: usize) -> Option<Offload> {
        let read = self.header.map(|header| Offload::read(&header, link));
        let mut offload = read.unwrap_or(Some(Offload::default()))?;
        offload.valid |= self.repaired && offload.partial.is_none();
        Some(offload)
    }

    /// Puts the checksum of an IPv4 header right, where one is wanted and has one.
    pub(crate) fn repair(&mut self, link: usize) {
        let Some(packet) = self.bytes.get_mut(link..).filter(|_| self.repaired) else {
            return;
        };
        let header = packet.first().map_or(0, |first| match first >> 4 {
            4 => usize::from(first & 0xf) * 4,
            _ => 0,
        });
        if (20..=packet.len()).contains(&header) {
            packet[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(&packet[..header]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
}
