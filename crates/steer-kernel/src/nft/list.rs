//! What stands in nf_tables, as far as we have to know it.

use nix::errno::Errno;
use steer_core::host::{MarkBits, MarkUse};
use steer_core::instance::Instance;
use steer_core::ruleset::{Base, ChainKind, Hook, Role};

use super::marks::of_rule;
use super::socket::{Netlink, Refused};
use super::table::{RULE_TABLE, TABLE_OWNER, hook_number, kind_name, read_tag};
use super::wire::{Attrs, attrs, c_text, number};

/// A table of any program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenTable {
    pub(crate) family: u8,
    pub(crate) name: String,
    pub(crate) flags: u32,
    /// The netlink port of the socket that owns it.
    pub(crate) owner: Option<u32>,
    pub(crate) comment: Option<String>,
}

/// A chain of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenChain {
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Its hook, where it has one that ours can have too.
    pub(crate) base: Option<Base>,
    /// Whether its policy is to drop.
    pub(crate) drops: bool,
    pub(crate) comment: Option<String>,
}

impl SeenTable {
    /// Whose it is, where it carries our tag.
    pub(crate) fn tag(&self) -> Option<(Instance, Role)> {
        read_tag(self.comment.as_deref()?)
    }

    pub(crate) const fn is_owned(&self) -> bool {
        self.flags & TABLE_OWNER != 0
    }
}

/// All tables of a family.
pub(crate) fn tables(netlink: &mut Netlink, family: u8) -> Result<Vec<SeenTable>, Refused> {
    let mut found = Vec::new();
    netlink.dump(GETTABLE, family, Attrs::new(), "list the tables", |reply| {
        let mut table = SeenTable {
            family: reply.family(),
            name: String::new(),
            flags: 0,
            owner: None,
            comment: None,
        };
        for (kind, value) in reply.attrs() {
            match kind {
                TABLE_NAME => table.name = c_text(value),
                TABLE_FLAGS => table.flags = number(value),
                TABLE_OWNER_PORT => table.owner = Some(number(value)),
                TABLE_USERDATA => table.comment = udata_comment(value),
                _ => {}
            }
        }
        found.push(table);
    })?;
    Ok(found)
}

/// All chains of a family.
pub(crate) fn chains(netlink: &mut Netlink, family: u8) -> Result<Vec<SeenChain>, Refused> {
    let mut found = Vec::new();
    netlink.dump(GETCHAIN, family, Attrs::new(), "list the chains", |reply| {
        let (mut hook, mut kind_of) = (None, String::new());
        let mut chain = SeenChain {
            family: reply.family(),
            table: String::new(),
            name: String::new(),
            base: None,
            drops: false,
            comment: None,
        };
        for (kind, value) in reply.attrs() {
            match kind {
                CHAIN_TABLE => chain.table = c_text(value),
                CHAIN_NAME => chain.name = c_text(value),
                CHAIN_HOOK => hook = Some(read_hook(value)),
                CHAIN_TYPE => kind_of = c_text(value),
                CHAIN_POLICY => chain.drops = number(value) == 0,
                CHAIN_USERDATA => chain.comment = udata_comment(value),
                _ => {}
            }
        }
        chain.base = hook.and_then(|(number, priority)| base(&kind_of, number, priority));
        found.push(chain);
    })?;
    Ok(found)
}

/// A mark in a rule of any program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenMark {
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) usage: MarkUse,
    pub(crate) bits: MarkBits,
}

/// The marks that rules of a family set or look at.
pub(crate) fn marks(netlink: &mut Netlink, family: u8) -> Result<Vec<SeenMark>, Refused> {
    let mut found = Vec::new();
    netlink.dump(GETRULE, family, Attrs::new(), "list the rules", |reply| {
        let (mut table, mut chain, mut marks) = (String::new(), String::new(), Vec::new());
        for (kind, value) in reply.attrs() {
            match kind {
                RULE_TABLE => table = c_text(value),
                RULE_CHAIN => chain = c_text(value),
                RULE_EXPRESSIONS => marks = of_rule(value),
                _ => {}
            }
        }
        found.extend(marks.into_iter().map(|(usage, bits)| SeenMark {
            table: table.clone(),
            chain: chain.clone(),
            usage,
            bits,
        }));
    })?;
    Ok(found)
}

/// The number of rules in a chain.
pub(crate) fn rules(
    netlink: &mut Netlink,
    family: u8,
    table: &str,
    chain: &str,
) -> Result<usize, Refused> {
    let mut count = 0;
    let mut only = Attrs::new();
    only.text(RULE_TABLE, table).text(RULE_CHAIN, chain);
    netlink.dump(GETRULE, family, only, "list the rules", |_| count += 1)?;
    Ok(count)
}

/// The number of sets in a table.
pub(crate) fn sets(netlink: &mut Netlink, family: u8, table: &str) -> Result<usize, Refused> {
    Ok(set_names(netlink, family, table)?.len())
}

/// The names of the sets in a table.
pub(crate) fn set_names(
    netlink: &mut Netlink,
    family: u8,
    table: &str,
) -> Result<Vec<String>, Refused> {
    let mut found = Vec::new();
    let mut only = Attrs::new();
    only.text(SET_TABLE, table);
    let listed = netlink.dump(GETSET, family, only, "list the sets", |reply| {
        let names = reply.attrs().filter(|(kind, _)| *kind == SET_NAME);
        found.extend(names.map(|(_, name)| c_text(name)));
    });
    match listed {
        Ok(()) => Ok(found),
        // The table is gone since it was seen.
        Err(
            Refused::Socket(Errno::ENOENT)
            | Refused::Message {
                errno: Errno::ENOENT,
                ..
            },
        ) => Err(Refused::Raced),
        Err(other) => Err(other),
    }
}

fn read_hook(value: &[u8]) -> (u32, i32) {
    let mut hook = (u32::MAX, 0);
    for (kind, value) in attrs(value) {
        match kind {
            HOOK_NUMBER => hook.0 = number(value),
            HOOK_PRIORITY => hook.1 = number(value).cast_signed(),
            _ => {}
        }
    }
    hook
}

fn base(kind_of: &str, number: u32, priority: i32) -> Option<Base> {
    let kinds = [ChainKind::Filter, ChainKind::Nat, ChainKind::Route];
    let hooks = Hook::ALL;
    Some(Base {
        kind: kinds.into_iter().find(|kind| kind_name(*kind) == kind_of)?,
        hook: hooks
            .into_iter()
            .find(|hook| hook_number(*hook) == number)?,
        priority,
    })
}

/// The comment among what the nft program stores beside a table.
fn udata_comment(mut value: &[u8]) -> Option<String> {
    loop {
        let (kind, length) = (*value.first()?, usize::from(*value.get(1)?));
        let text = value.get(2..2 + length)?;
        if kind == 0 {
            return Some(c_text(text));
        }
        value = &value[2 + length..];
    }
}

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSET: u16 = 10;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USERDATA: u16 = 6;
const TABLE_OWNER_PORT: u16 = 7;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const CHAIN_USERDATA: u16 = 12;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
