//! The whole state of a host, to prove that nothing was left behind.

mod bpf;
mod conntrack;
mod diff;
mod network;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::cgroup::cgroup2_mount;
use crate::host::Host;
use crate::watched::DEADLINE;

/// A part of a host's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `nft list ruleset`, without counters.
    Nft,
    /// `iptables-nft-save`, without counters.
    Iptables,
    /// `ip6tables-nft-save`, without counters.
    Ip6tables,
    /// `iptables-legacy-save` of the tables that exist, without counters.
    IptablesLegacy,
    /// `ip6tables-legacy-save` of the tables that exist, without counters.
    Ip6tablesLegacy,
    /// `ip rule` of both families.
    Rules,
    /// Routes of all tables and both families.
    Routes,
    /// Flows that conntrack rewrites or has marked, and that have not ended.
    Conntrack,
    /// Links and their addresses.
    Links,
    /// Every readable file of `/proc/sys/net` that does not change by itself.
    Sysctls,
    /// BPF programs and links of the machine, the steerings that have some, and pinned objects.
    Bpf,
    /// Directories of the machine's cgroup2 hierarchy.
    Cgroups,
    /// What lies in `/run/steer`.
    RunSteer,
}

impl Section {
    /// Whether the section is shared by all hosts of the machine.
    pub fn is_machine_wide(self) -> bool {
        matches!(self, Self::Bpf | Self::Cgroups | Self::RunSteer)
    }
}

/// The state of a host and of the machine-wide parts at one moment.
///
/// Taking one changes nothing: legacy tables, which a listing would create, are read only where
/// the kernel says that they exist. What changes by itself (counters, handles, life times,
/// conntrack's counts) is left out.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<Section, Vec<String>>,
}

impl Snapshot {
    /// Takes a snapshot of the host and the machine.
    pub fn take(host: &Host) -> Self {
        let mut sections = network::sections(host);
        sections.insert(Section::Conntrack, conntrack::lines(host));
        sections.insert(Section::Bpf, bpf::lines());
        let cgroups = cgroup2_mount().map(|root| tree::directories(&root));
        sections.insert(Section::Cgroups, cgroups.unwrap_or_default());
        sections.insert(Section::RunSteer, tree::entries("/run/steer".as_ref()));
        Self { sections }
    }

    /// Keeps, in machine-wide sections, only the lines that contain the text, such as an instance's name.
    ///
    /// For tests that run beside others, which make cgroups and instances of their own.
    #[must_use]
    pub fn about(self, text: &str) -> Self {
        self.keep(|section, line| !section.is_machine_wide() || line.contains(text))
    }

    /// Keeps only the state inside the host.
    #[must_use]
    pub fn of_host_only(self) -> Self {
        self.keep(|section, _| !section.is_machine_wide())
    }

    /// Leaves out legacy iptables tables without rules of anyone, which cannot be removed again.
    #[must_use]
    pub fn without_empty_legacy_tables(mut self) -> Self {
        for section in [Section::IptablesLegacy, Section::Ip6tablesLegacy] {
            if let Some(lines) = self.sections.get_mut(&section) {
                let tables = lines.split_inclusive(|line| line == "COMMIT");
                *lines = tables
                    .filter(|table| !network::is_empty_table(table))
                    .flatten()
                    .cloned()
                    .collect();
            }
        }
        self
    }

    /// Keeps only the lines that satisfy the condition.
    #[must_use]
    pub fn keep(mut self, wanted: impl Fn(Section, &str) -> bool) -> Self {
        for (section, lines) in &mut self.sections {
            lines.retain(|line| wanted(*section, line));
        }
        self
    }

    /// The lines of a section.
    pub fn lines(&self, section: Section) -> &[String] {
        self.sections.get(&section).map_or(&[], Vec::as_slice)
    }

    /// What changed from `before` to this one, readable, or `None`.
    pub fn changes_since(&self, before: &Self) -> Option<String> {
        let text: String = self
            .sections
            .iter()
            .filter_map(|(section, lines)| diff::section(*section, before.lines(*section), lines))
            .collect();
        (!text.is_empty()).then_some(text)
    }

    /// Panics with the difference unless the state is the same as before.
    #[track_caller]
    pub fn assert_same_as(&self, before: &Self) {
        if let Some(changes) = self.changes_since(before) {
            panic!("the state of the host changed:\n{changes}");
        }
    }

    /// Takes snapshots, narrowed by `narrow`, until one is the same as before, which it was narrowed by too.
    ///
    /// For clean-up that another process does on its own. Panics with the last difference after
    /// the [`DEADLINE`].
    #[track_caller]
    pub fn wait_same(host: &Host, before: &Self, narrow: impl Fn(Self) -> Self) {
        let end = Instant::now() + DEADLINE;
        let before = narrow(before.clone());
        loop {
            let after = narrow(Self::take(host));
            if Instant::now() > end {
                return after.assert_same_as(&before);
            }
            if after.changes_since(&before).is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, lines) in &self.sections {
            writeln!(f, "== {section:?}")?;
            lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}
