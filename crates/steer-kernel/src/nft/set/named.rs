//! The sets that the rules of a table look up, each under a name that tells its contents.
//!
//! A kernel may make what it searches of a set of intervals as the last step of a transaction,
//! when the rules of the same transaction already act (seen with Linux 6.18): for that long the
//! set is empty to packets, the longer the more it holds. So a set stands before the transaction
//! whose rules look it up, which needs a name that both can tell.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::super::NFPROTO_INET;
use super::super::socket::Batch;
use super::super::wire::{Attrs, Request};
use super::{Intervals, Key, SET_NAME, SET_TABLE};

/// The sets that rules look up, gathered while the rules are compiled.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    /// Gives equal contents equal names. Its key is secret, so that nobody who chooses what a set
    /// holds can choose another set's name.
    names: RandomState,
    named: BTreeMap<String, Intervals>,
    unnamed: u32,
}

impl Sets {
    /// None yet; sets that were named by the same `names` are known by their contents.
    pub(crate) fn named_by(names: &RandomState) -> Self {
        Self {
            names: names.clone(),
            ..Self::default()
        }
    }

    /// The name under which the rules find a set of these intervals.
    pub(crate) fn name(&mut self, intervals: &Intervals) -> String {
        let hash = self.names.hash_one(intervals.ranges());
        let name = format!("{}_{hash:016x}", noun(intervals.key));
        if !self.named.contains_key(&name) {
            self.named.insert(name.clone(), intervals.clone());
        }
        name
    }

    /// The number of a further set that one rule alone looks up, made in its own batch.
    pub(crate) const fn number(&mut self) -> u32 {
        self.unnamed += 1;
        self.unnamed
    }

    /// Whether no rule looks up a set with a name.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Adds the sets that do not stand in a table yet, and to `undo` their deletion.
    pub(crate) fn push_missing(
        &self,
        batch: &mut Batch,
        undo: &mut Batch,
        table: &str,
        standing: &[String],
    ) {
        let numbers = self.unnamed + 1..;
        for ((name, intervals), number) in self.named.iter().zip(numbers) {
            if !standing.contains(name) {
                intervals.push_set(batch, (table, name), number);
                push_delete(undo, table, name);
            }
        }
    }

    /// Adds the deletion of the sets that stand in a table and that no rule looks up any more.
    pub(crate) fn push_unused(&self, batch: &mut Batch, table: &str, standing: &[String]) {
        // The kernel removes a set without a name of its own together with its rule.
        let named = standing.iter().filter(|name| !name.starts_with("__"));
        for name in named.filter(|name| !self.named.contains_key(*name)) {
            push_delete(batch, table, name);
        }
    }
}

fn push_delete(batch: &mut Batch, table: &str, name: &str) {
    let mut attrs = Attrs::new();
    attrs.text(SET_TABLE, table).text(SET_NAME, name);
    batch.push(
        Request::nft(DELSET, 0, NFPROTO_INET, attrs),
        format!("delete set {table} {name}"),
    );
}

const fn noun(key: Key) -> &'static str {
    use steer_core::address::Family;
    match key {
        Key::Address(Family::V4) => "networks4",
        Key::Address(Family::V6) => "networks6",
        Key::Port => "ports",
        Key::Uid => "uids",
        Key::Gid => "gids",
    }
}

const DELSET: u16 = 11;

#[cfg(test)]
mod tests {
    use steer_core::address::PortRange;

    use super::*;

    fn ports(list: &[&str]) -> Intervals {
        let list: Vec<PortRange> = list.iter().map(|p| p.parse().unwrap()).collect();
        Intervals::of_ports(&list)
    }

    #[test]
    fn equal_contents_have_one_name_and_others_another() {
        let names = RandomState::new();
        let mut sets = Sets::named_by(&names);
        let name = sets.name(&ports(&["80", "443"]));
        assert_eq!(sets.name(&ports(&["443", "80"])), name);
        assert_ne!(sets.name(&ports(&["80", "444"])), name);
        assert_eq!(Sets::named_by(&names).name(&ports(&["80", "443"])), name);
    }
}
