//! The nf_tables tables behind iptables-nft, so that they can be left as they were found.
//!
//! iptables-nft makes `table ip nat` and its built-in chains when they are first written to, and
//! never removes them. We make what is missing ourselves beforehand, tagged, and take what carries
//! the tag away once it is empty.

use steer_core::address::Family;
use steer_core::ruleset::{Base, ChainKind, Hook};

use super::state::{hook_name, table_name};
use crate::nft::list::{self, SeenChain};
use crate::nft::socket::{Batch, Netlink, Refused};
use crate::nft::table::{push_base_chain, push_create, push_delete, push_delete_chain};

/// The nf_tables family of the tables of an iptables family.
pub(crate) const fn nft_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The iptables tables that stand, of those that ours can be in.
pub(crate) fn standing(netlink: &mut Netlink, family: Family) -> Result<Vec<ChainKind>, Refused> {
    let tables = repeat(|| list::tables(netlink, nft_family(family)))?;
    Ok([ChainKind::Filter, ChainKind::Nat, ChainKind::Route]
        .into_iter()
        .filter(|kind| tables.iter().any(|table| table.name == table_name(*kind)))
        .collect())
}

/// Makes the built-in chains that are missing, and their tables, with our tag.
pub(crate) fn prepare(
    netlink: &mut Netlink,
    family: Family,
    hooks: &[(ChainKind, Hook)],
) -> Result<(), Refused> {
    repeat(|| {
        let generation = netlink.generation()?;
        let tables = list::tables(netlink, nft_family(family))?;
        let chains = list::chains(netlink, nft_family(family))?;
        let mut batch = Batch::default();
        let mut made: Vec<ChainKind> = Vec::new();
        for (kind, hook) in hooks.iter().copied() {
            let table = table_name(kind);
            if !made.contains(&kind) && !tables.iter().any(|seen| seen.name == table) {
                push_create(&mut batch, nft_family(family), table, TAG, 0);
                made.push(kind);
            }
            let name = hook_name(hook);
            if !chains.iter().any(|c| c.table == table && c.name == name) {
                let base = builtin(kind, hook);
                push_base_chain(&mut batch, nft_family(family), table, name, base, TAG);
            }
        }
        netlink.commit(generation, &batch)
    })
}

/// Removes what carries our tag and has nothing in it.
pub(crate) fn tidy(netlink: &mut Netlink, family: Family) -> Result<(), Refused> {
    repeat(|| {
        let generation = netlink.generation()?;
        let tables = list::tables(netlink, nft_family(family))?;
        let chains = list::chains(netlink, nft_family(family))?;
        let mut batch = Batch::default();
        for table in [ChainKind::Filter, ChainKind::Nat, ChainKind::Route].map(table_name) {
            let Some(seen) = tables.iter().find(|seen| seen.name == table) else {
                continue;
            };
            let inside: Vec<&SeenChain> = chains.iter().filter(|c| c.table == table).collect();
            let mut left = inside.len();
            for chain in inside {
                let is_ours = chain.comment.as_deref() == Some(TAG) && !chain.drops;
                if is_ours && list::rules(netlink, nft_family(family), table, &chain.name)? == 0 {
                    push_delete_chain(&mut batch, nft_family(family), table, &chain.name);
                    left -= 1;
                }
            }
            // Sets of a neighbour make the kernel refuse; then the table is in use and stays.
            let is_ours = seen.comment.as_deref() == Some(TAG);
            if is_ours && left == 0 && list::sets(netlink, nft_family(family), table)? == 0 {
                push_delete(&mut batch, nft_family(family), table);
            }
        }
        netlink.commit(generation, &batch)
    })
}

/// A built-in chain as iptables-nft makes it.
const fn builtin(kind: ChainKind, hook: Hook) -> Base {
    let (kind, priority) = match (kind, hook) {
        (ChainKind::Filter, _) => (ChainKind::Filter, 0),
        (ChainKind::Nat, Hook::Input | Hook::Postrouting) => (ChainKind::Nat, 100),
        (ChainKind::Nat, _) => (ChainKind::Nat, -100),
        // Of the mangle table only the output chain routes again.
        (ChainKind::Route, Hook::Output) => (ChainKind::Route, -150),
        (ChainKind::Route, _) => (ChainKind::Filter, -150),
    };
    Base {
        kind,
        hook,
        priority,
    }
}

/// Does it again whenever another program changes the rules in between.
fn repeat<T>(mut work: impl FnMut() -> Result<T, Refused>) -> Result<T, Refused> {
    for _ in 0..TURNS {
        match work() {
            Err(Refused::Raced) => {}
            done => return done,
        }
    }
    Err(Refused::Raced)
}

const TURNS: u32 = 64;
/// The comment on what we made for iptables-nft.
pub(crate) const TAG: &str = "made by steer for iptables";
