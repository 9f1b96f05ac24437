//! A change of what is taken, so that every call in the kernel sees all of one configuration.
//!
//! ```text
//!  fill entry, ports, networks of the next number ─> write the number ─> wait ─> remove the old
//!       │ failure: remove them                          (flip)        (grace)
//! ```

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData};

use crate::abi::{GENERATIONS, NetKey, PORT_WORDS};
use crate::error::EbpfError;
use crate::filter::{Filter, Net};
use crate::maps::{Maps, on};
use crate::object::Tables;
use crate::sys;

/// A configuration that holds in place of another one, which can still come back.
#[derive(Debug)]
#[must_use = "one of the two stays in the maps until it is settled or undone"]
pub(crate) struct Swap {
    tables: Tables,
    last: u32,
    next: u32,
}

impl Swap {
    /// Puts a filter in the place of the one that holds.
    ///
    /// # Errors
    /// What held holds on.
    pub(crate) fn to<C: Pod>(
        maps: &Maps,
        tables: Tables,
        filter: &Filter<C>,
    ) -> Result<Self, EbpfError> {
        let mut active: Array<MapData, u32> = maps.view(tables.active)?;
        let last = on(tables.active, active.get(&0, 0))?;
        let swap = Self {
            tables,
            last,
            next: last.wrapping_add(1),
        };
        let done = swap.fill(maps, filter).and_then(|()| {
            let flipped = active.set(0, swap.next, 0);
            on(tables.active, flipped)
        });
        if let Err(error) = done {
            swap.purge(maps, &[last]);
            return Err(error);
        }
        Ok(swap)
    }

    /// Removes what held before, once nobody looks at it any more.
    pub(crate) fn settle(self, maps: &Maps) {
        let kept: &[u32] = match sys::grace_period() {
            Ok(()) => &[self.next],
            // Nobody may say (nohz_full kernels): the next change removes it.
            Err(error) => {
                tracing::debug!(%error, "the networks of before stay until the next change");
                &[self.next, self.last]
            }
        };
        self.purge(maps, kept);
    }

    /// Puts what held before back.
    pub(crate) fn undo(self, maps: &Maps) -> Result<(), EbpfError> {
        let mut active: Array<MapData, u32> = maps.view(self.tables.active)?;
        on(self.tables.active, active.set(0, self.last, 0))?;
        Self {
            last: self.next,
            next: self.last,
            ..self
        }
        .settle(maps);
        Ok(())
    }

    fn fill<C: Pod>(&self, maps: &Maps, filter: &Filter<C>) -> Result<(), EbpfError> {
        let Filter {
            config,
            ports,
            nets,
        } = filter;
        let Tables {
            config: configs,
            ports: words,
            nets: trie,
            ..
        } = self.tables;
        let slot = self.next % GENERATIONS;
        let mut map: Array<MapData, C> = maps.view(configs)?;
        on(configs, map.set(slot, config, 0))?;
        let mut map: Array<MapData, u64> = maps.view(words)?;
        for (index, word) in (slot * PORT_WORDS..).zip(ports) {
            on(words, map.set(index, word, 0))?;
        }
        let mut map: LpmTrie<MapData, NetKey, u32> = maps.view(trie)?;
        for net in nets {
            on(trie, map.insert(&self.key(net), net.flags, 0))?;
        }
        Ok(())
    }

    fn key(&self, net: &Net) -> Key<NetKey> {
        let key = NetKey {
            generation: self.next.to_be_bytes(),
            address: net.address,
        };
        Key::new(u32::BITS + net.prefix, key)
    }

    /// Removes the networks of all generations but these; what cannot be removed only takes room.
    fn purge(&self, maps: &Maps, kept: &[u32]) {
        let purged = self.try_purge(maps, kept);
        if let Err(error) = purged {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "networks that are not looked at stay in their map");
        }
    }

    fn try_purge(&self, maps: &Maps, kept: &[u32]) -> Result<(), EbpfError> {
        let name = self.tables.nets;
        let mut map: LpmTrie<MapData, NetKey, u32> = maps.view(name)?;
        let mut stale = Vec::new();
        for key in map.keys() {
            let key = on(name, key)?;
            if !kept.contains(&u32::from_be_bytes(key.data().generation)) {
                stale.push(key);
            }
        }
        for key in &stale {
            on(name, map.remove(key))?;
        }
        Ok(())
    }
}
