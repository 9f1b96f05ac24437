//! The vocabulary of packet filtering: typed chains and rules, which the nft driver and the
//! iptables driver both render.
//!
//! A rule is written once, as data, and added, compared, printed and removed as that. There is no
//! negation: what is to be left out stands earlier, with [`Verdict::Return`]. Alternatives within
//! a test are a list; several tests in a rule must all hold.

mod text;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Family, IdRange, PortRange, Protocol};
use crate::intent::OnFailure;
use crate::symbol::{Bindings, CgroupRef, MarkRef, NameSet, PortRef, Unbound};

/// Chains that belong together and are swapped in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// What the rules are for; part of the table's name.
    pub role: Role,
    /// The families that the rules are for.
    pub families: Vec<Family>,
    /// The chains; a chain stands before those that jump to it.
    pub chains: Vec<Chain>,
}

/// What a ruleset is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Brings traffic to the engine; must not outlive it.
    Steer,
    /// Refuses what is not steered; outlives a crash under `on_failure: closed`.
    Guard,
}

/// A list of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The name, 1 to 8 of `a-z`, unique over all rulesets of a plan.
    pub name: String,
    /// Where packets enter the chain; none for a chain that is only jumped to.
    pub base: Option<Base>,
    /// The rules, first one first.
    pub rules: Vec<Rule>,
}

/// The place where the kernel hands packets to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Base {
    /// What the chain may do.
    pub kind: ChainKind,
    /// Where on the packet's way it stands.
    pub hook: Hook,
    /// Its place among chains of the same hook; lower runs first. iptables has fixed priorities
    /// and puts the chain first in its table instead.
    pub priority: i32,
}

/// What a chain may do; the iptables table of the same purpose in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Accept and refuse (`filter`).
    Filter,
    /// Rewrite addresses of new connections (`nat`).
    Nat,
    /// Change marks and route again (`mangle`).
    Route,
}

/// A place on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Arrived, not yet routed.
    Prerouting,
    /// For this host.
    Input,
    /// Passing through.
    Forward,
    /// Made by this host.
    Output,
    /// About to leave by an interface, whoever made it.
    Postrouting,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];
}

/// One rule: if all tests hold, the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The tests; none means every packet.
    pub tests: Vec<Test>,
    /// What happens to a packet that passes them.
    pub verdict: Verdict,
    /// Why the rule exists, for whoever reads the plan.
    pub why: String,
}

/// A question to a packet; a list holds when one of its entries does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// The IP version.
    Family(Family),
    /// The transport protocol.
    Protocol(Protocol),
    /// A TCP segment that opens a connection (SYN of SYN, ACK, FIN, RST).
    Opening,
    /// The destination lies in one of the networks, all of one family.
    To(Vec<Cidr>),
    /// The destination is an address of one of the names, in the given family. A rule whose names
    /// have no address in the family is left out when symbols get their values.
    ToNames(NameSet, Family),
    /// The destination port lies in one of the ranges (needs [`Test::Protocol`] before it).
    ToPort(Vec<PortRange>),
    /// The destination port is one of ours (needs [`Test::Protocol`] before it).
    ToListener(PortRef),
    /// The sending socket belongs to the cgroup or one below it.
    Cgroup(CgroupRef),
    /// The sending socket's user id.
    Uid(Vec<IdRange>),
    /// The sending socket's group id.
    Gid(Vec<IdRange>),
    /// The packet's mark.
    Marked(MarkRef),
    /// The connection's mark (conntrack), set by [`Verdict::Track`].
    Tracked(MarkRef),
    /// The packet came in at one of the interfaces; `lo` for packets that this host made.
    From(Vec<String>),
    /// The packet leaves by one of the interfaces; `lo` for packets that come back to this host.
    /// In the hook output it is the one that was chosen before the packet got its mark.
    Into(Vec<String>),
    /// The destination is an address of this host.
    ToThisHost,
    /// The destination is everyone on a network of this host, or on the link. IPv4 alone has such.
    ToBroadcast,
    /// An ICMP echo request of a family, which `ping` sends.
    Echo(Family),
    /// The packet belongs to a connected or listening socket that may have foreign addresses
    /// (IP_TRANSPARENT); in the hooks prerouting and input.
    Transparent,
    /// The packet is for a connected or listening socket that has addresses of its own alone; in the
    /// hooks prerouting and input, for nf_tables. Where nobody has its port, it does not hold.
    Ordinary,
    /// The packet comes from the side that opened the connection (conntrack direction original).
    FromOpener,
    /// The packet is an answer to the side that opened the connection (conntrack direction reply).
    /// Like [`Test::FromOpener`] it does not hold for what conntrack does not know.
    ToOpener,
    /// The connection's destination was rewritten (conntrack status DNAT).
    Rewritten,
    /// The connection's destination was rewritten to one of our ports: its answers come from
    /// there.
    RewrittenTo(PortRef),
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Leave this chain; the packet goes on where it was called from.
    Return,
    /// Go through another chain of this ruleset.
    Jump(String),
    /// Rewrite the destination to this host and the port.
    Redirect(PortRef),
    /// Answer with a TCP reset.
    Reset,
    /// Answer with ICMP "administratively prohibited".
    Prohibit,
    /// Throw it away, where nothing can be answered: a program's datagram fails at once, its
    /// connection only after a while.
    Drop,
    /// Set the connection's mark (conntrack) within its mask, and go on with the next rule.
    Track(MarkRef),
    /// Set the packet's mark within its mask, and let it pass this hook's chain of ours.
    ///
    /// In a chain of kind [`ChainKind::Route`] at the hook output, the packet is routed again.
    Mark(MarkRef),
    /// Set the packet's mark and hand it, addresses unchanged, to the transparent socket that
    /// listens at the port on the loopback address of the packet's family; in the hook prerouting.
    Tproxy {
        /// The listener.
        to: PortRef,
        /// What the policy route knows the packet by.
        mark: MarkRef,
        /// Where nobody listens: `open` leaves the packet alone; `closed` sets the mark all the
        /// same, so that it comes to this host and is refused there. iptables drops it under
        /// both.
        dead: OnFailure,
    },
}

impl Ruleset {
    /// The same hooks with nothing that takes flows: those that were taken go on.
    ///
    /// The kernel tracks connections only while a rule asks it to; without one it would stop
    /// translating the flows that are left. So a nat chain keeps a rule that asks and does nothing.
    /// A chain that marks keeps the rules that know their packets by what a flow carries once it
    /// was taken. Behind the routing nothing is taken any more, so all of it stays.
    #[must_use]
    pub fn retired(&self) -> Self {
        let mut retired = self.clone();
        for chain in &mut retired.chains {
            match chain.base.map(|base| (base.kind, base.hook)) {
                Some((ChainKind::Nat, _)) => chain.rules = vec![Rule::tracking()],
                Some((ChainKind::Filter, _) | (_, Hook::Postrouting)) | None => {}
                Some((ChainKind::Route, _)) => chain.rules.retain(Rule::is_of_taken_flows),
            }
        }
        retired
    }

    /// Whether a rule looks at the instance's own mark, or sets it.
    #[must_use]
    pub fn marks(&self) -> bool {
        self.chains.iter().flat_map(|c| &c.rules).any(|rule| {
            let looked_at = rule.tests.iter().any(|test| {
                matches!(
                    test,
                    Test::Marked(MarkRef::Steer) | Test::Tracked(MarkRef::Steer)
                )
            });
            let set = match &rule.verdict {
                Verdict::Track(mark) | Verdict::Mark(mark) | Verdict::Tproxy { mark, .. } => {
                    *mark == MarkRef::Steer
                }
                Verdict::Return
                | Verdict::Jump(_)
                | Verdict::Redirect(_)
                | Verdict::Reset
                | Verdict::Prohibit
                | Verdict::Drop => false,
            };
            looked_at || set
        })
    }

    /// The ruleset with every symbol replaced by its value.
    pub fn resolve(&self, bindings: &Bindings) -> Result<Self, Unbound> {
        let mut resolved = self.clone();
        for chain in &mut resolved.chains {
            chain.rules.retain_mut(|rule| rule.bind_names(bindings));
        }
        for rule in resolved.chains.iter_mut().flat_map(|c| &mut c.rules) {
            for test in &mut rule.tests {
                match test {
                    Test::ToListener(port) | Test::RewrittenTo(port) => {
                        *port = bindings.port(port)?
                    }
                    Test::Cgroup(cgroup) => *cgroup = bindings.cgroup(cgroup)?,
                    Test::Marked(mark) | Test::Tracked(mark) => *mark = bindings.mark(*mark)?,
                    Test::Family(_)
                    | Test::Protocol(_)
                    | Test::Opening
                    | Test::To(_)
                    | Test::ToNames(..)
                    | Test::ToPort(_)
                    | Test::Uid(_)
                    | Test::Gid(_)
                    | Test::From(_)
                    | Test::Into(_)
                    | Test::ToThisHost
                    | Test::ToBroadcast
                    | Test::Echo(_)
                    | Test::Transparent
                    | Test::Ordinary
                    | Test::FromOpener
                    | Test::ToOpener
                    | Test::Rewritten => {}
                }
            }
            match &mut rule.verdict {
                Verdict::Redirect(port) => *port = bindings.port(port)?,
                Verdict::Track(mark) | Verdict::Mark(mark) => *mark = bindings.mark(*mark)?,
                Verdict::Tproxy { to, mark, dead: _ } => {
                    *to = bindings.port(to)?;
                    *mark = bindings.mark(*mark)?;
                }
                Verdict::Return
                | Verdict::Jump(_)
                | Verdict::Reset
                | Verdict::Prohibit
                | Verdict::Drop => {}
            }
        }
        Ok(resolved)
    }
}

impl Rule {
    /// A rule with its reason.
    #[must_use]
    pub fn new(
        tests: impl IntoIterator<Item = Test>,
        verdict: Verdict,
        why: impl Into<String>,
    ) -> Self {
        Self {
            tests: tests.into_iter().collect(),
            verdict,
            why: why.into(),
        }
    }

    /// Whether it matches only packets of flows that were taken before, by their mark, that of
    /// their connection, or their socket.
    fn is_of_taken_flows(&self) -> bool {
        self.tests
            .iter()
            .any(|test| matches!(test, Test::Marked(_) | Test::Tracked(_) | Test::Transparent))
    }

    /// Replaces names by their addresses; false where there is none, and nothing could match.
    fn bind_names(&mut self, bindings: &Bindings) -> bool {
        self.tests.iter_mut().all(|test| {
            if let Test::ToNames(names, family) = test {
                let nets = bindings.addresses(*names, *family);
                let any = !nets.is_empty();
                *test = Test::To(nets);
                any
            } else {
                true
            }
        })
    }

    /// A rule that does nothing but keep connection tracking on.
    fn tracking() -> Self {
        Self::new(
            [Test::Rewritten],
            Verdict::Return,
            "keeps connection tracking on for the flows that were rewritten",
        )
    }

    /// The only family the rule can match, where a test binds it.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        self.tests.iter().find_map(|test| match test {
            Test::Family(family) | Test::ToNames(_, family) | Test::Echo(family) => Some(*family),
            Test::To(nets) => nets.first().map(|net| net.family()),
            Test::ToBroadcast => Some(Family::V4),
            _ => None,
        })
    }
}

#[cfg(test)]
#[path = "ruleset/tests.rs"]
mod tests;
