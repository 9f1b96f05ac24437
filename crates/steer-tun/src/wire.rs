//! Where packets of ours go out.

use std::fmt;
use std::io;

use crate::packet::Offload;

/// The next hop of a packet on the link of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The device has no link layer: its other end is the host.
    Host,
    /// A station of the link, by its hardware address.
    Station([u8; 6]),
}

/// What takes packets of ours: a device, or what stands for one in a test.
pub trait Wire: fmt::Debug + Send + Sync {
    /// Sends one IP packet that is in several parts, without waiting.
    ///
    /// # Errors
    /// What the device says; the packet is lost.
    fn send(&self, hop: Hop, offload: Offload, parts: &[&[u8]]) -> io::Result<()>;

    /// The longest packet that goes out in one piece, in bytes. A host takes longer ones from its own
    /// device.
    fn longest(&self) -> usize;

    /// Whether checksums may be left partial.
    fn completes_checksums(&self) -> bool;

    /// Whether one packet may stand for several datagrams of UDP.
    fn cuts_datagrams(&self) -> bool;
}
