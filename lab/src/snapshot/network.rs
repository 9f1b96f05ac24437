//! What lives inside a network namespace.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Section, tree};
use crate::family::Family;
use crate::host::Host;
use crate::need::find_program;

/// All sections of the namespace.
pub(super) fn sections(host: &Host) -> BTreeMap<Section, Vec<String>> {
    let both = |words: &[&str]| {
        Family::BOTH
            .iter()
            .flat_map(|family| ip(host, *family, words))
            .collect::<Vec<_>>()
    };
    BTreeMap::from([
        (
            Section::Nft,
            say(host, "nft", &["--stateless", "list", "ruleset"]),
        ),
        (Section::Iptables, saved(host, "iptables-nft-save", &[])),
        (Section::Ip6tables, saved(host, "ip6tables-nft-save", &[])),
        (
            Section::IptablesLegacy,
            legacy(host, "iptables-legacy-save", "ip_tables_names"),
        ),
        (
            Section::Ip6tablesLegacy,
            legacy(host, "ip6tables-legacy-save", "ip6_tables_names"),
        ),
        (Section::Rules, both(&["rule", "show"])),
        (
            Section::Routes,
            both(&["route", "show", "table", "all"])
                .into_iter()
                .map(|line| without(&line, &["expires", "age"]))
                .collect(),
        ),
        (Section::Links, links(host)),
        (Section::Sysctls, host.enter(sysctls)),
    ])
}

/// Whether these lines of an iptables listing are a table that has only its built-in, accepting chains.
pub(super) fn is_empty_table(lines: &[String]) -> bool {
    let built_in = |line: &String| {
        line.starts_with('*')
            || line == "COMMIT"
            || line.starts_with(':') && line.ends_with(" ACCEPT")
    };
    lines.iter().all(built_in)
}

/// The lines that a program writes, or one line that says that it is not installed.
fn say(host: &Host, program: &str, arguments: &[&str]) -> Vec<String> {
    if find_program(program).is_none() {
        return vec![format!("({program} is not installed)")];
    }
    let text = host.program(program).args(arguments).run().expect_success();
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// An iptables listing without its dated comments and its counters.
fn saved(host: &Host, program: &str, arguments: &[&str]) -> Vec<String> {
    let lines = say(host, program, arguments).into_iter();
    let lines =
        lines.filter(|line| !line.starts_with("# Generated") && !line.starts_with("# Completed"));
    lines
        .map(|line| {
            line.split_once(" [")
                .filter(|_| line.starts_with(':'))
                .map_or(line.clone(), |(chain, _)| chain.to_owned())
        })
        .collect()
}

/// The legacy tables that exist; asking for another would create it.
fn legacy(host: &Host, program: &str, names: &str) -> Vec<String> {
    let names = host.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{names}")));
    let names = names.unwrap_or_default();
    let mut tables: Vec<&str> = names.lines().collect();
    tables.sort_unstable();
    tables
        .into_iter()
        .flat_map(|table| saved(host, program, &["-t", table]))
        .collect()
}

fn ip(host: &Host, family: Family, words: &[&str]) -> Vec<String> {
    host.ip(&[&[family.flag()], words].concat())
        .lines()
        .map(|line| format!("{} {}", family.flag(), line.trim_end()))
        .collect()
}

fn links(host: &Host) -> Vec<String> {
    let links = host.ip(&["-d", "-o", "link", "show"]);
    let addresses = host.ip(&["-o", "addr", "show"]);
    // The operational state follows the carrier, which is among the flags, some time later.
    let volatile = ["valid_lft", "preferred_lft", "state"];
    links
        .lines()
        .chain(addresses.lines())
        .map(|line| without(line, &volatile).replace(" tentative", ""))
        .collect()
}

/// The line without these words and the value after each.
fn without(line: &str, words: &[&str]) -> String {
    let mut kept = Vec::new();
    let mut rest = line.split_whitespace();
    while let Some(word) = rest.next() {
        if words.contains(&word) {
            rest.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// `name=value` of every sysctl of the calling thread's namespace that does not change by itself.
fn sysctls() -> Vec<String> {
    let mut lines = Vec::new();
    let root = Path::new("/proc/sys");
    tree::walk(root, &root.join("net"), &mut |path, name| {
        let volatile = VOLATILE.iter().any(|part| name.ends_with(part));
        if volatile || path.is_dir() {
            return;
        }
        let value = fs::read_to_string(path).unwrap_or_else(|error| format!("({})", error.kind()));
        lines.push(format!(
            "{name}={}",
            value.trim_end().replace(['\n', '\t'], " ")
        ));
    });
    lines.sort();
    lines
}

/// Sysctls that the kernel changes by itself, that only can be written, or that depend on modules loaded.
const VOLATILE: [&str; 6] = [
    "/nf_conntrack_count",
    "/nf_conntrack_buckets",
    "/route/flush",
    "/tcp_available_congestion_control",
    "/tcp_allowed_congestion_control",
    "/tcp_available_ulp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volatile_words_go_with_their_values() {
        assert_eq!(
            without(
                "a expires 29sec  b valid_lft forever",
                &["expires", "valid_lft"]
            ),
            "a b"
        );
    }

    #[test]
    fn only_a_table_with_nothing_of_anyone_is_empty() {
        let lines = |text: &str| text.split(';').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_empty_table(&lines("*nat;:OUTPUT ACCEPT;COMMIT")));
        assert!(!is_empty_table(&lines("*nat;:OUTPUT DROP;COMMIT")));
        assert!(!is_empty_table(&lines(
            "*nat;:OUTPUT ACCEPT;:MINE -;COMMIT"
        )));
        assert!(!is_empty_table(&lines(
            "*nat;:OUTPUT ACCEPT;-A OUTPUT -j RETURN;COMMIT"
        )));
    }
}
