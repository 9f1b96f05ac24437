//! What `iptables-save` writes, as far as neighbours matter.

use std::collections::BTreeSet;

use steer_core::host::{MarkBits, MarkUse, Neighbour};
use steer_core::ruleset::{ChainKind, Hook};

use crate::iptables::state::{hook_name, owner};

/// The chains at hooks and the marks in a text of a program, without what is ours.
pub(super) fn neighbours(text: &str, program: &str) -> BTreeSet<Neighbour> {
    let mut found = BTreeSet::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rest) = line.strip_prefix(':') {
            let mut words = rest.split(' ');
            let (chain, policy) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            if policy == "DROP" {
                found.extend(at_hook(table, chain, program));
            }
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let words = words(rest);
            let Some((chain, arguments)) = words.split_first() else {
                continue;
            };
            let is_ours = |chain: &String| owner(chain).is_some();
            if is_ours(chain) || arguments.last().is_some_and(is_ours) {
                continue;
            }
            found.extend(at_hook(table, chain, program));
            let by = place(table, chain, program);
            let marks = marks(arguments).into_iter();
            found.extend(marks.map(|(usage, mark)| Neighbour::Mark {
                mark,
                usage,
                by: by.clone(),
            }));
        }
    }
    found
}

fn place(table: &str, chain: &str, program: &str) -> String {
    format!("{program} table {table}, chain {chain}")
}

fn at_hook(table: &str, chain: &str, program: &str) -> Option<Neighbour> {
    let hook = Hook::ALL
        .into_iter()
        .find(|hook| hook_name(*hook) == chain)?;
    let (kind, priority) = match (table, hook) {
        ("raw", _) => (ChainKind::Filter, -300),
        ("mangle", _) => (ChainKind::Route, -150),
        ("nat", Hook::Input | Hook::Postrouting) => (ChainKind::Nat, 100),
        ("nat", _) => (ChainKind::Nat, -100),
        ("filter", _) => (ChainKind::Filter, 0),
        ("security", _) => (ChainKind::Filter, 50),
        _ => return None,
    };
    Some(Neighbour::Chain {
        kind,
        hook,
        priority,
        by: place(table, chain, program),
    })
}

/// The marks that a rule's arguments tell of.
fn marks(arguments: &[String]) -> Vec<(MarkUse, MarkBits)> {
    let behind = |option: &str| {
        let at = arguments.iter().position(|word| word == option)?;
        arguments.get(at + 1)
    };
    let mut found = Vec::new();
    for (at, option) in arguments.iter().enumerate() {
        match option.as_str() {
            "--mark" | "--set-xmark" | "--set-mark" | "--tproxy-mark" => {
                let usage = match option.as_str() {
                    "--mark" => MarkUse::Tested,
                    _ => MarkUse::Set,
                };
                let bits = arguments.get(at + 1).and_then(|text| bits(text));
                found.extend(bits.map(|bits| (usage, bits)));
            }
            // What is saved or restored is not known, only where.
            "--save-mark" | "--restore-mark" => {
                let mask = match option.as_str() {
                    "--save-mark" => behind("--ctmask"),
                    _ => behind("--nfmask"),
                };
                let mask = mask.and_then(|text| word(text)).unwrap_or(u32::MAX);
                found.push((MarkUse::Set, MarkBits { value: 0, mask }));
            }
            _ => {}
        }
    }
    found
}

/// `VALUE` or `VALUE/MASK`, where bits of the value outside of the mask are changed too.
fn bits(text: &str) -> Option<MarkBits> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (word(value)?, word(mask)?),
        None => (word(text)?, u32::MAX),
    };
    Some(MarkBits {
        value,
        mask: mask | value,
    })
}

fn word(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The words of a line; what stands between quotes is one, and never an option.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let mut word = String::new();
        let mut quoted = false;
        let mut escaped = false;
        let mut end = rest.len();
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => {
                    word.push(c);
                    escaped = false;
                }
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ' ' if !quoted => {
                    end = at;
                    break;
                }
                _ => word.push(c),
            }
        }
        if rest.starts_with('"') {
            word.insert(0, '"');
        }
        words.push(word);
        rest = rest[end..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(usage: MarkUse, value: u32, mask: u32, chain: &str) -> Neighbour {
        Neighbour::Mark {
            usage,
            mark: MarkBits { value, mask },
            by: format!("iptables-legacy table mangle, chain {chain}"),
        }
    }

    #[test]
    fn marks_and_chains_of_others_are_found_and_ours_are_not() {
        let text = "\
# Generated by iptables-save
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:STEER_main_OUT - [0:0]
:THEIRS - [0:0]
-A PREROUTING -i eth0 -m comment --comment \"sets \\\"--mark 0x9\\\" not\" -j THEIRS
-A OUTPUT -m comment --comment \"steer main\" -j STEER_main_OUT
-A POSTROUTING -m mark ! --mark 0x40000/0xff0000 -j ACCEPT
-A STEER_main_OUT -j MARK --set-xmark 0x80000000/0xf0000000
-A THEIRS -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff00
-A THEIRS -j CONNMARK --save-mark
-A THEIRS -j MARK --set-xmark 0x7/0xffffffff
-A THEIRS -p tcp -j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x3
-A THEIRS -m connmark --mark 12 -j ACCEPT
COMMIT
";
        let base = |hook| Neighbour::Chain {
            kind: ChainKind::Route,
            hook,
            priority: -150,
            by: format!("iptables-legacy table mangle, chain {}", hook_name(hook)),
        };
        let expected = BTreeSet::from([
            base(Hook::Prerouting),
            base(Hook::Forward),
            base(Hook::Postrouting),
            mark(MarkUse::Tested, 0x40000, 0x00ff_0000, "POSTROUTING"),
            mark(MarkUse::Set, 0, 0xff, "THEIRS"),
            mark(MarkUse::Set, 0, u32::MAX, "THEIRS"),
            mark(MarkUse::Set, 7, u32::MAX, "THEIRS"),
            mark(MarkUse::Set, 1, 3, "THEIRS"),
            mark(MarkUse::Tested, 12, u32::MAX, "THEIRS"),
        ]);
        assert_eq!(neighbours(text, "iptables-legacy"), expected);
    }
}
