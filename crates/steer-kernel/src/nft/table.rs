//! Our tables: their names, their tags, and the messages that make, refill and delete them.

use steer_core::instance::Instance;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Ruleset};

use super::NFPROTO_INET;
use super::list::SeenChain;
use super::rule::{Cgroups, Compiler, Unrenderable, can_hold};
use super::set::Sets;
use super::socket::Batch;
use super::wire::{Attrs, NLM_F_CREATE, NLM_F_EXCL, Request};

/// One of our tables as it shall stand.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) role: Role,
    /// The rulesets of the role; composed plans have several.
    pub(crate) rulesets: Vec<&'a Ruleset>,
}

/// The name of a table.
pub(crate) fn name(instance: &Instance, role: Role) -> String {
    match role {
        Role::Steer => format!("steer_{instance}"),
        Role::Guard => format!("steer_{instance}_guard"),
    }
}

/// The comment that makes a table ours: `steer 0.1.0 main guard`.
pub(crate) fn tag(instance: &Instance, role: Role) -> String {
    format!("steer {} {instance} {role}", env!("CARGO_PKG_VERSION"))
}

/// Whose table a comment tells of, whichever version of ours wrote it.
pub(crate) fn read_tag(comment: &str) -> Option<(Instance, Role)> {
    let mut words = comment.strip_prefix("steer ")?.split(' ').skip(1);
    let instance = Instance::new(words.next()?).ok()?;
    let role = match words.next()? {
        "steer" => Role::Steer,
        "guard" => Role::Guard,
        _ => return None,
    };
    words.next().is_none().then_some((instance, role))
}

/// Adds the deletion of a table with everything in it.
pub(crate) fn push_delete(batch: &mut Batch, family: u8, table: &str) {
    let mut attrs = Attrs::new();
    attrs.text(TABLE_NAME, table);
    batch.push(
        Request::nft(DELTABLE, 0, family, attrs),
        format!("delete table {table}"),
    );
}

/// Adds an empty table with a comment.
pub(crate) fn push_create(batch: &mut Batch, family: u8, table: &str, comment: &str, flags: u32) {
    let mut attrs = Attrs::new();
    attrs
        .text(TABLE_NAME, table)
        .u32(TABLE_FLAGS, flags)
        .bytes(TABLE_USERDATA, &udata_text(UDATA_TABLE_COMMENT, comment));
    batch.push(
        Request::nft(NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, family, attrs),
        format!("make table {table}"),
    );
}

impl Table<'_> {
    /// The table flags: what steers must not outlive its owner, what guards must.
    pub(crate) const fn flags(&self) -> u32 {
        match self.role {
            Role::Steer => TABLE_OWNER,
            Role::Guard => 0,
        }
    }

    /// Adds the table with nothing in it.
    pub(crate) fn push_empty(&self, batch: &mut Batch) {
        let table = name(self.instance, self.role);
        let tag = tag(self.instance, self.role);
        push_create(batch, NFPROTO_INET, &table, &tag, self.flags());
    }

    /// Adds what turns the standing table into this one. Base chains stay registered: without
    /// them the kernel would stop translating the flows that they have rewritten.
    pub(crate) fn push_refill(
        &self,
        batch: &mut Batch,
        standing: &[SeenChain],
        sets: &mut Sets,
        cgroups: &mut Cgroups<'_>,
    ) -> Result<(), Unrenderable> {
        let table = name(self.instance, self.role);
        let mut flush = Attrs::new();
        flush.text(RULE_TABLE, &table);
        batch.push(
            Request::nft(DELRULE, 0, NFPROTO_INET, flush),
            format!("empty table {table}"),
        );
        let (kept, gone): (Vec<_>, Vec<_>) = standing.iter().cloned().partition(|seen| {
            self.chains().any(|(_, chain)| {
                seen.name == chain.name && seen.base == chain.base.map(as_registered)
            })
        });
        for chain in gone {
            push_delete_chain(batch, NFPROTO_INET, &table, &chain.name);
        }
        self.push_chains(batch, &kept, sets, cgroups)
    }

    /// Adds the chains, but for those that are kept, and the rules of all; gathers the sets that
    /// have to stand before.
    pub(crate) fn push_chains(
        &self,
        batch: &mut Batch,
        kept: &[SeenChain],
        sets: &mut Sets,
        cgroups: &mut Cgroups<'_>,
    ) -> Result<(), Unrenderable> {
        let table = name(self.instance, self.role);
        for (_, chain) in self.chains() {
            if !kept.iter().any(|seen| seen.name == chain.name) {
                push_chain(batch, &table, chain);
            }
        }
        for (ruleset, chain) in self.chains() {
            // Rules of a single family are bound to it where packets enter.
            let only = match (chain.base, ruleset.families.as_slice()) {
                (Some(_), [family]) => Some(*family),
                _ => None,
            };
            if ruleset.families.is_empty() {
                continue;
            }
            for rule in chain.rules.iter().filter(|rule| can_hold(rule)) {
                Compiler::new(&table, &chain.name, batch, sets).rule(rule, only, cgroups)?;
            }
        }
        Ok(())
    }

    fn chains(&self) -> impl Iterator<Item = (&Ruleset, &Chain)> {
        self.rulesets
            .iter()
            .flat_map(|ruleset| ruleset.chains.iter().map(move |chain| (*ruleset, chain)))
    }
}

pub(crate) fn push_chain(batch: &mut Batch, table: &str, chain: &Chain) {
    let mut attrs = Attrs::new();
    attrs.text(CHAIN_TABLE, table).text(CHAIN_NAME, &chain.name);
    if let Some(base) = chain.base {
        hook(&mut attrs, as_registered(base));
    }
    batch.push(
        Request::nft(NEWCHAIN, NLM_F_CREATE, NFPROTO_INET, attrs),
        format!("make chain {table} {}", chain.name),
    );
}

/// Adds a base chain with a comment to a table of any family.
pub(crate) fn push_base_chain(
    batch: &mut Batch,
    family: u8,
    table: &str,
    name: &str,
    base: Base,
    comment: &str,
) {
    let mut attrs = Attrs::new();
    attrs.text(CHAIN_TABLE, table).text(CHAIN_NAME, name);
    hook(&mut attrs, base);
    attrs.bytes(CHAIN_USERDATA, &udata_text(UDATA_CHAIN_COMMENT, comment));
    batch.push(
        Request::nft(NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, family, attrs),
        format!("make chain {table} {name}"),
    );
}

/// Adds the deletion of an empty chain.
pub(crate) fn push_delete_chain(batch: &mut Batch, family: u8, table: &str, name: &str) {
    let mut attrs = Attrs::new();
    attrs.text(CHAIN_TABLE, table).text(CHAIN_NAME, name);
    batch.push(
        Request::nft(DELCHAIN, 0, family, attrs),
        format!("delete chain {table} {name}"),
    );
}

/// A base as the kernel has it: chains that route again exist at the hook output only, and at
/// the others a mark counts anyway, because routing is yet to come.
const fn as_registered(base: Base) -> Base {
    let kind = match (base.kind, base.hook) {
        (kind, Hook::Output) => kind,
        (ChainKind::Route, _) => ChainKind::Filter,
        (kind, _) => kind,
    };
    Base { kind, ..base }
}

fn hook(attrs: &mut Attrs, base: Base) {
    let Base {
        kind,
        hook,
        priority,
    } = base;
    attrs
        .text(CHAIN_TYPE, kind_name(kind))
        .u32(CHAIN_POLICY, POLICY_ACCEPT)
        .nest(CHAIN_HOOK, |nest| {
            nest.u32(HOOK_NUMBER, hook_number(hook))
                .u32(HOOK_PRIORITY, priority.cast_unsigned());
        });
}

pub(crate) const fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}

pub(crate) const fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

/// A text as the nft program stores it beside an object, where `nft list` shows it as a comment.
pub(crate) fn udata_text(kind: u8, text: &str) -> Vec<u8> {
    let mut end = text.len().min(COMMENT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = vec![kind, 0];
    // The nft program prints the text between quotes and cannot read one inside.
    out.extend(text[..end].bytes().map(|byte| match byte {
        b'"' => b'\'',
        0..=31 => b' ',
        other => other,
    }));
    out.push(0);
    out[1] = u8::try_from(out.len() - 2).expect("the text was cut to 127 bytes");
    out
}

const COMMENT_MAX: usize = 127;
const UDATA_TABLE_COMMENT: u8 = 0;
const UDATA_CHAIN_COMMENT: u8 = 0;
/// `NFT_TABLE_F_OWNER`: the table goes with the socket that made it, and only it may change it.
pub(crate) const TABLE_OWNER: u32 = 2;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const DELRULE: u16 = 8;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USERDATA: u16 = 6;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const CHAIN_USERDATA: u16 = 12;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const POLICY_ACCEPT: u32 = 1;
pub(crate) const RULE_TABLE: u16 = 1;
