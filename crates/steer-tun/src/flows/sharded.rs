//! A table in parts, each with a lock of its own.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Flow;

/// Flows by something of theirs.
#[derive(Debug)]
pub(super) struct Sharded<K> {
    shards: Vec<RwLock<HashMap<K, Arc<Flow>>>>,
    hasher: RandomState,
}

impl<K: Eq + Hash> Sharded<K> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<Flow>> {
        read(self.part(key)).get(key).cloned()
    }

    /// The part that a key is in, to change it.
    pub(super) fn shard(&self, key: &K) -> RwLockWriteGuard<'_, HashMap<K, Arc<Flow>>> {
        write(self.part(key))
    }

    /// Removes this very flow, and says whether it was there.
    pub(super) fn remove(&self, key: &K, flow: &Arc<Flow>) -> bool {
        let mut shard = self.shard(key);
        let is_it = shard.get(key).is_some_and(|there| Arc::ptr_eq(there, flow));
        is_it && shard.remove(key).is_some()
    }

    /// Those of which something is true.
    pub(super) fn those<'a>(
        &'a self,
        is_meant: impl Fn(&Flow) -> bool + 'a,
    ) -> impl Iterator<Item = Arc<Flow>> + 'a {
        self.shards.iter().flat_map(move |shard| {
            let shard = read(shard);
            let meant = shard.values().filter(|flow| is_meant(flow));
            meant.cloned().collect::<Vec<_>>()
        })
    }

    /// Gives back room that a flood took.
    pub(super) fn shrink(&self) {
        for shard in &self.shards {
            let (length, capacity) = {
                let shard = read(shard);
                (shard.len(), shard.capacity())
            };
            if capacity > KEPT && capacity / 4 > length {
                write(shard).shrink_to(length * 2);
            }
        }
    }

    fn part(&self, key: &K) -> &RwLock<HashMap<K, Arc<Flow>>> {
        let hash = self.hasher.hash_one(key);
        let part = usize::try_from(hash % SHARDS as u64).expect("a small number");
        &self.shards[part]
    }
}

// The maps are whole after every statement, so that a panic elsewhere leaves nothing half done.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// How many parts there are.
const SHARDS: usize = 64;

/// Room of one part that is not worth giving back.
const KEPT: usize = 256;
