//! The flows of a device, bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steer_core::datagram::Stragglers;

use super::UdpLimits;
use super::flow::{Ends, State};
use crate::packet::Reason;

/// The flows that there are.
#[derive(Debug)]
pub(super) struct Table {
    limits: UdpLimits,
    hasher: RandomState,
    /// By the source's address, so that each knows how many flows its sources have.
    shards: [Mutex<Shard>; SHARDS],
    flows: AtomicUsize,
}

/// A flow as its device sees it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: Arc<State>,
    pub(super) way_in: Stragglers,
}

#[derive(Debug, Default)]
struct Shard {
    flows: HashMap<Ends, Arc<Entry>>,
    sources: HashMap<IpAddr, usize>,
}

impl Table {
    pub(super) fn new(limits: UdpLimits) -> Self {
        Self {
            limits,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            flows: AtomicUsize::new(0),
        }
    }

    /// The flow of these ends, which begins where there is none that lives.
    ///
    /// # Errors
    /// There is no room for another one.
    pub(super) fn entry(
        &self,
        ends: Ends,
        begin: impl FnOnce() -> Entry,
    ) -> Result<Arc<Entry>, Reason> {
        let source = ends.client.ip();
        let mut shard = self.shard(source);
        match shard.flows.get(&ends) {
            Some(entry) if !entry.way_in.is_over() => return Ok(Arc::clone(entry)),
            Some(_) => self.remove(&mut shard, &ends),
            None => {}
        }
        let of_source = shard.sources.get(&source).copied().unwrap_or(0);
        if of_source >= self.limits.source || self.len() >= self.limits.flows {
            return Err(Reason::Full);
        }
        let entry = Arc::new(begin());
        shard.flows.insert(ends, Arc::clone(&entry));
        *shard.sources.entry(source).or_default() += 1;
        self.flows.fetch_add(1, Relaxed);
        Ok(entry)
    }

    /// What is known of the client of a flow that lives.
    pub(super) fn find(&self, ends: &Ends) -> Option<Arc<State>> {
        let shard = self.shard(ends.client.ip());
        let entry = shard.flows.get(ends)?;
        (!entry.way_in.is_over()).then(|| Arc::clone(&entry.state))
    }

    /// Forgets one that has ended before anybody knew of it.
    pub(super) fn drop_stillborn(&self, ends: &Ends) {
        let mut shard = self.shard(ends.client.ip());
        let over = |entry: &Arc<Entry>| entry.way_in.is_over();
        if shard.flows.get(ends).is_some_and(over) {
            self.remove(&mut shard, ends);
        }
    }

    /// Forgets all that are over.
    pub(super) fn sweep(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let over = |(_, entry): &(&Ends, &Arc<Entry>)| entry.way_in.is_over();
            let ended: Vec<Ends> = shard
                .flows
                .iter()
                .filter(over)
                .map(|(ends, _)| *ends)
                .collect();
            for ends in ended {
                self.remove(&mut shard, &ends);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.load(Relaxed)
    }

    #[cfg(test)]
    pub(super) fn of_source(&self, source: IpAddr) -> usize {
        let shard = self.shard(source);
        shard.sources.get(&source).copied().unwrap_or(0)
    }

    fn remove(&self, shard: &mut Shard, ends: &Ends) {
        if shard.flows.remove(ends).is_some() {
            self.flows.fetch_sub(1, Relaxed);
            shard.left(ends.client.ip());
        }
    }

    fn shard(&self, source: IpAddr) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(source) as usize % SHARDS;
        lock(&self.shards[index])
    }
}

impl Shard {
    /// A source has a flow less.
    fn left(&mut self, source: IpAddr) {
        if let Slot::Occupied(mut count) = self.sources.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Valid after every statement, so a panic elsewhere leaves nothing half done.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 16;
