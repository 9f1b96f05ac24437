//! Where a scope's packets come by.

use std::net::IpAddr;

use steer_core::address::{Cidr, Family, Protocol};
use steer_core::intent::{Dns, Intent, Loopback, Scope, Selector};
use steer_core::key::Key;
use steer_core::ruleset::{Hook, Test};
use steer_core::steerer::PlanError;

use super::traffic::{Decision, Fate};
use crate::listeners::Entry;

/// The way of a scope's packets through this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Made by programs here.
    Local,
    /// Made by other machines for others, entering at these interfaces.
    Forwarded(Vec<String>),
    /// Made by other machines for this host.
    Inbound,
}

impl Way {
    /// The way of a scope; only one at a time has rules.
    pub fn of(intent: &Intent) -> Result<Self, PlanError> {
        let Intent { scope, traffic, .. } = intent;
        let Scope {
            command,
            of,
            except,
        } = scope;
        let senders = senders(*command, of);
        let together = |mut keys: Vec<Key>, why: &str| {
            keys.sort_unstable();
            keys.dedup();
            Err(PlanError::Together {
                keys,
                why: why.to_owned(),
            })
        };
        let way = match (of.interface.as_slice(), of.inbound) {
            ([], false) => Self::Local,
            ([], true) => Self::Inbound,
            (_, true) => {
                return together(
                    vec![Key::Interface, Key::Inbound],
                    "what passes through this host is not for this host",
                );
            }
            (interfaces, false) => Self::Forwarded(interfaces.to_vec()),
        };
        let key = match way {
            Self::Local => None,
            Self::Forwarded(_) => Some(Key::Interface),
            Self::Inbound => Some(Key::Inbound),
        };
        if let Some(key) = key {
            let why = "packets of other machines were sent by no program of this host";
            let excepted = self::senders(false, except);
            if !senders.is_empty() || !excepted.is_empty() {
                return together([vec![key], senders, excepted].concat(), why);
            }
        }
        if *command && of.netns.is_some() {
            return together(
                vec![Key::Command, Key::Netns],
                "the command starts in the namespace that steer was started in",
            );
        }
        if except.netns.is_some() || except.inbound || except.host {
            return together(
                [
                    except.host.then_some(Key::Host),
                    except.netns.is_some().then_some(Key::Netns),
                    except.inbound.then_some(Key::Inbound),
                ]
                .into_iter()
                .flatten()
                .collect(),
                "scope.except subtracts senders and interfaces from a scope, and these are neither",
            );
        }
        if !except.interface.is_empty() && way != Self::Inbound {
            return together(
                vec![Key::Interface],
                "scope.except.interface subtracts from scope.inbound alone",
            );
        }
        if way == Self::Inbound && traffic.dns == Some(Dns::Capture) {
            return together(
                vec![Key::Inbound, Key::DnsCapture],
                "queries that come to this host are for its own server",
            );
        }
        Ok(way)
    }

    /// The port of the engine that its flows go to, DNS apart.
    pub const fn port(&self) -> Entry {
        match self {
            Self::Local | Self::Forwarded(_) => Entry::Outbound,
            Self::Inbound => Entry::Inbound,
        }
    }

    /// Where new packets are taken.
    pub const fn entry(&self) -> Hook {
        match self {
            Self::Local => Hook::Output,
            Self::Forwarded(_) | Self::Inbound => Hook::Prerouting,
        }
    }

    /// Where packets that were not taken go by on their way on.
    pub const fn exit(&self) -> Hook {
        match self {
            Self::Local => Hook::Output,
            Self::Forwarded(_) => Hook::Forward,
            Self::Inbound => Hook::Input,
        }
    }

    /// The tests that tell the way's packets from others at its hooks.
    pub fn tests(&self) -> Vec<Test> {
        match self {
            Self::Local | Self::Inbound => Vec::new(),
            Self::Forwarded(interfaces) => vec![Test::From(interfaces.clone())],
        }
    }

    /// What is left alone because it goes no further than this host, as far as the intent lets it.
    pub fn own(&self, intent: &Intent) -> Vec<Decision> {
        match self {
            Self::Local if intent.traffic.loopback == Some(Loopback::Steer) => Vec::new(),
            Self::Local => Family::ALL
                .into_iter()
                .map(|family| {
                    let net = Test::To(vec![family.loopback_net()]);
                    Decision::new([net], Fate::Leave, "loopback: skip")
                })
                .collect(),
            Self::Forwarded(_) => vec![Decision::new(
                [Test::ToThisHost],
                Fate::Leave,
                "for this host itself",
            )],
            Self::Inbound => Vec::new(),
        }
    }
}

/// The written keys that name programs of this host.
fn senders(command: bool, selector: &Selector) -> Vec<Key> {
    [
        (command, Key::Command),
        (selector.host, Key::Host),
        (!selector.cgroup.is_empty(), Key::Cgroup),
        (!selector.uid.is_empty(), Key::Uid),
        (!selector.gid.is_empty(), Key::Gid),
    ]
    .into_iter()
    .filter_map(|(written, key)| written.then_some(key))
    .collect()
}

/// Whether the scope is narrowed to sockets of some programs, so that the kernel's own packets are
/// not in it.
pub fn chooses_sockets(scope: &Scope) -> bool {
    let keys = senders(scope.command, &scope.of);
    keys.iter().any(|key| *key != Key::Host)
}

/// Datagrams to many at once, for which no single answerer stands. Which addresses are those of
/// everyone on a network, only the host's routes tell, and they come before any rule about marks.
pub fn to_many() -> Vec<Decision> {
    [
        Test::To(vec![literal("224.0.0.0", 4)]),
        Test::ToBroadcast,
        Test::To(vec![literal("ff00::", 8)]),
    ]
    .map(|to| {
        Decision::new(
            [to, Test::Protocol(Protocol::Udp)],
            Fate::Pass,
            "multicast and broadcast cannot be steered",
        )
    })
    .to_vec()
}

/// Addresses that mean something on one link only, which a packet no longer names once it was
/// routed anew.
pub fn to_link() -> Decision {
    Decision::new(
        [Test::To(vec![literal("fe80::", 10)])],
        Fate::Pass,
        "the link of a link-local address cannot be told",
    )
}

fn literal(address: &str, prefix: u8) -> Cidr {
    let address: IpAddr = address.parse().expect("a literal address is valid");
    format!("{address}/{prefix}")
        .parse()
        .expect("a literal network is valid")
}
