//! A wire that keeps what is sent, for tests.

use std::io;
use std::sync::{Arc, Mutex};

use crate::packet::Offload;
use crate::wire::{Hop, Wire};

/// What was sent.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) longest: usize,
    pub(crate) offloads: bool,
    sent: Mutex<Vec<(Hop, Offload, Vec<u8>)>>,
}

impl Recorder {
    /// A wire with or without offloads, whose packets have at most so many bytes.
    pub(crate) fn new(longest: usize, offloads: bool) -> Arc<Self> {
        Arc::new(Self {
            longest,
            offloads,
            sent: Mutex::default(),
        })
    }

    /// What was sent since this was asked last.
    pub(crate) fn take(&self) -> Vec<(Hop, Offload, Vec<u8>)> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

impl Wire for Recorder {
    fn send(&self, hop: Hop, offload: Offload, parts: &[&[u8]]) -> io::Result<()> {
        let packet = parts.concat();
        self.sent.lock().unwrap().push((hop, offload, packet));
        Ok(())
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn completes_checksums(&self) -> bool {
        self.offloads
    }

    fn cuts_datagrams(&self) -> bool {
        self.offloads
    }
}
