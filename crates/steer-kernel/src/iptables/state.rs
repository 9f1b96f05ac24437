//! Our part of a family's iptables tables, and the text that leads from one state to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use steer_core::address::Family;
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Ruleset, Verdict};

use super::place::check;
use super::render::{Unrenderable, comment, lines};

/// The chains and jumps of one instance in the tables of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(BTreeMap<ChainKind, Table>);

/// Our part of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    /// Our chains with what stands behind `-A CHAIN` for each rule.
    chains: BTreeMap<String, Vec<String>>,
    /// The jumps into our chains, first one first.
    jumps: Vec<Jump>,
}

/// A rule of a chain that is not ours and leads into one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Jump {
    from: String,
    to: String,
    /// What stands behind `-A FROM`.
    rule: String,
}

/// The name of one of our chains.
pub(crate) fn chain_name(instance: &Instance, chain: &str) -> String {
    format!("{PREFIX}{instance}_{}", chain.to_uppercase())
}

/// Whose chain a name tells of; chain names hold no underscore of their own.
pub(crate) fn owner(chain: &str) -> Option<Instance> {
    let (instance, name) = chain.strip_prefix(PREFIX)?.rsplit_once('_')?;
    let is_ours = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase());
    Instance::new(instance).ok().filter(|_| is_ours)
}

/// The iptables table of a kind of chain.
pub(crate) const fn table_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "mangle",
    }
}

/// The built-in chain of a hook.
pub(crate) const fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Input => "INPUT",
        Hook::Forward => "FORWARD",
        Hook::Output => "OUTPUT",
        Hook::Postrouting => "POSTROUTING",
    }
}

impl State {
    /// What shall stand for these rulesets.
    pub(crate) fn wanted(
        rulesets: &[&Ruleset],
        family: Family,
        instance: &Instance,
    ) -> Result<Self, Unrenderable> {
        let mut tables: BTreeMap<ChainKind, Table> = BTreeMap::new();
        let mut bases: Vec<(Base, &Chain)> = Vec::new();
        for ruleset in rulesets.iter().filter(|r| r.families.contains(&family)) {
            for chain in &ruleset.chains {
                let Some(base) = chain.base else { continue };
                bases.push((base, chain));
                let table = tables.entry(base.kind).or_default();
                for chain in reachable(ruleset, chain) {
                    let mut rules = Vec::new();
                    for rule in &chain.rules {
                        check(rule, base)?;
                        let name = |name: &str| chain_name(instance, name);
                        rules.extend(lines(rule, family, &name, &mut |mark| {
                            marking(&mut table.chains, instance, mark)
                        })?);
                    }
                    table
                        .chains
                        .insert(chain_name(instance, &chain.name), rules);
                }
            }
        }
        bases.sort_by_key(|(base, _)| base.priority);
        for (base, chain) in bases {
            let to = chain_name(instance, &chain.name);
            tables.entry(base.kind).or_default().jumps.push(Jump {
                from: hook_name(base.hook).to_owned(),
                rule: format!("{}-j {to}", comment(&format!("steer {instance}"))),
                to,
            });
        }
        Ok(Self(tables))
    }

    /// Takes what is ours from the listing of a table (`iptables -S`).
    pub(crate) fn read(&mut self, kind: ChainKind, listing: &str, instance: &Instance) {
        let mut table = Table::default();
        let is_ours = |chain: &str| owner(chain).as_ref() == Some(instance);
        for line in listing.lines() {
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
            match verb {
                "-N" if is_ours(chain) => {
                    table.chains.entry(chain.to_owned()).or_default();
                }
                "-A" if is_ours(chain) => {
                    let rules = table.chains.entry(chain.to_owned()).or_default();
                    rules.push(rule.to_owned());
                }
                "-A" => {
                    let target = rule
                        .rsplit_once("-j ")
                        .map_or("", |(_, target)| target.trim());
                    if is_ours(target) {
                        table.jumps.push(Jump {
                            from: chain.to_owned(),
                            to: target.to_owned(),
                            rule: rule.to_owned(),
                        });
                    }
                }
                _ => {}
            }
        }
        if table != Table::default() {
            self.0.insert(kind, table);
        }
    }

    /// The text for `iptables-restore --noflush` that leads from this state to another; empty
    /// where nothing has to be done.
    ///
    /// Chains that stay are refilled within the transaction of their table, and jumps that stand
    /// stay, so there is no moment without steering.
    pub(crate) fn change_to(&self, to: &Self) -> String {
        let nothing = Table::default();
        let mut text = String::new();
        for kind in [ChainKind::Filter, ChainKind::Nat, ChainKind::Route] {
            let from = self.0.get(&kind).unwrap_or(&nothing);
            let to = to.0.get(&kind).unwrap_or(&nothing);
            if (from, to) != (&nothing, &nothing) {
                from.write_change(to, kind, &mut text)
                    .expect("writing to a text cannot fail");
            }
        }
        text
    }

    /// The built-in chains that hold or get jumps, by table, each once: several chains of ours can
    /// have one hook.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = (ChainKind, &str)> {
        let all: BTreeSet<(ChainKind, &str)> = self
            .0
            .iter()
            .flat_map(|(kind, table)| table.jumps.iter().map(|jump| (*kind, jump.from.as_str())))
            .collect();
        all.into_iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Table {
    fn write_change(&self, to: &Self, kind: ChainKind, out: &mut String) -> std::fmt::Result {
        writeln!(out, "*{}", table_name(kind))?;
        for chain in to.chains.keys() {
            writeln!(out, ":{chain} - [0:0]")?;
        }
        let mut kept: Vec<&Jump> = Vec::new();
        for jump in &self.jumps {
            let same = |other: &&Jump| (&other.from, &other.to) == (&jump.from, &jump.to);
            if to.jumps.iter().any(|other| same(&other)) && !kept.iter().any(same) {
                kept.push(jump);
            } else {
                writeln!(out, "-D {} {}", jump.from, jump.rule)?;
            }
        }
        let gone = || {
            self.chains
                .keys()
                .filter(|name| !to.chains.contains_key(*name))
        };
        for chain in gone() {
            writeln!(out, "-F {chain}")?;
        }
        for (chain, rules) in &to.chains {
            for rule in rules {
                writeln!(out, "-A {chain} {rule}")?;
            }
        }
        // Each goes to the front, so the one that shall run first is written last.
        for jump in to.jumps.iter().rev() {
            if !kept
                .iter()
                .any(|k| (&k.from, &k.to) == (&jump.from, &jump.to))
            {
                writeln!(out, "-I {} 1 {}", jump.from, jump.rule)?;
            }
        }
        for chain in gone() {
            writeln!(out, "-X {chain}")?;
        }
        writeln!(out, "COMMIT")
    }
}

/// The name of the chain that sets a mark and accepts, which is added where it is missing.
fn marking(chains: &mut BTreeMap<String, Vec<String>>, instance: &Instance, mark: Mark) -> String {
    let rules = vec![
        format!("-j MARK --set-xmark {mark}"),
        "-j ACCEPT".to_owned(),
    ];
    // Nine letters, which no chain of a ruleset has.
    let name = ('A'..='Z')
        .map(|letter| format!("{PREFIX}{instance}_MARKSLOT{letter}"))
        .find(|name| chains.get(name).is_none_or(|standing| *standing == rules))
        .expect("a plan marks with the mark of its slot");
    chains.insert(name.clone(), rules);
    name
}

/// A chain and those of its ruleset that packets can get to from it.
fn reachable<'a>(ruleset: &'a Ruleset, start: &'a Chain) -> Vec<&'a Chain> {
    let mut found = vec![start];
    let mut next = 0;
    while let Some(chain) = found.get(next).copied() {
        next += 1;
        for rule in &chain.rules {
            let Verdict::Jump(name) = &rule.verdict else {
                continue;
            };
            if let Some(target) = ruleset.chains.iter().find(|c| c.name == *name)
                && !found.iter().any(|c| c.name == target.name)
            {
                found.push(target);
            }
        }
    }
    found
}

/// What the names of our chains start with.
const PREFIX: &str = "STEER_";

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
