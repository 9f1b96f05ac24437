//! Which packets of the scope: the traffic as decisions, which every chain reads in its own way.

use std::net::IpAddr;

use steer_core::address::{Cidr, Family, PortRange, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Dns, Filter, Intent, Quic, Traffic};
use steer_core::ruleset::Test;
use steer_core::steerer::{PlanError, names};
use steer_core::symbol::NameSet;

use super::way::Way;
use crate::listeners::{Entry, Port};

/// What becomes of the packets that pass the tests; the first decision that they meet holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What a packet has to be.
    pub tests: Vec<Test>,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, for the reader of the rules.
    pub why: &'static str,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is none of ours.
    Leave,
    /// It goes to a port of the engine.
    Take(Entry),
    /// It is refused, whatever `on_failure` says.
    Refuse,
    /// It would be taken if it could be: it is left alone, or refused by a guard.
    Pass,
}

impl Decision {
    /// A decision.
    pub fn new(tests: impl IntoIterator<Item = Test>, fate: Fate, why: &'static str) -> Self {
        Self {
            tests: tests.into_iter().collect(),
            fate,
            why,
        }
    }

    /// The only protocol that it is about, where it is about one.
    pub fn protocol(&self) -> Option<Protocol> {
        self.tests.iter().find_map(|test| match test {
            Test::Protocol(protocol) => Some(*protocol),
            _ => None,
        })
    }

    /// Whether packets of the protocol can meet it.
    pub fn concerns(&self, protocol: Protocol) -> bool {
        self.protocol().is_none_or(|only| only == protocol)
    }
}

/// The traffic of an intent, decision by decision.
///
/// What is excluded comes first, DNS before what is this host's own: a resolver on the loopback
/// network is asked like any other. `quic` is the choice that holds, `beyond` what the method
/// cannot take.
pub fn decisions(intent: &Intent, way: &Way, quic: Quic, beyond: Vec<Decision>) -> Vec<Decision> {
    let traffic = &intent.traffic;
    let mut all = excluded(traffic);
    let dns = [well_known(53)];
    match traffic.dns {
        Some(Dns::Capture) => all.extend(each_of(
            &traffic.captured(),
            &dns,
            Fate::Take(Entry::Dns),
            "dns: capture",
        )),
        // Queries to this host are for its own server; only what its programs ask is meant.
        None if *way == Way::Inbound => {}
        Some(Dns::Leave) | None => {
            all.extend(each_of(&Protocol::ALL, &dns, Fate::Leave, "dns: leave"));
        }
    }
    all.extend(way.own(intent));
    all.extend(beyond);
    let destinations = Destinations::of(intent);
    let (fate, why) = match quic {
        Quic::Steer => (None, ""),
        Quic::Leave => (Some(Fate::Leave), "quic: leave"),
        Quic::Reject => (
            Some(Fate::Refuse),
            "quic: reject, so that clients fall back to TCP",
        ),
    };
    let quic_meant = traffic.means(Protocol::Udp) && traffic.means_port(443);
    if let Some(fate) = fate.filter(|_| quic_meant) {
        for mut tests in destinations.tests() {
            tests.push(Test::Protocol(Protocol::Udp));
            tests.push(Test::ToPort(vec![well_known(443)]));
            all.push(Decision::new(tests, fate, why));
        }
    }
    for protocol in Protocol::ALL.into_iter().filter(|p| traffic.means(*p)) {
        for mut tests in destinations.tests() {
            tests.push(Test::Protocol(protocol));
            if !traffic.include.ports.is_empty() {
                tests.push(Test::ToPort(traffic.include.ports.clone()));
            }
            all.push(Decision::new(
                tests,
                Fate::Take(way.port()),
                destinations.why(),
            ));
        }
    }
    all
}

/// The decisions that a chain needs to bring packets to the ports: those that take for one, each with
/// its port, and those before them that leave packets of the same protocol alone.
pub fn before_ports<'a>(
    decisions: &'a [Decision],
    ports: &[Port],
) -> impl Iterator<Item = (&'a Decision, Option<Port>)> {
    let mut later: Vec<Protocol> = Vec::new();
    let mut needed = Vec::new();
    for decision in decisions.iter().rev() {
        match (decision.fate, decision.protocol()) {
            (Fate::Take(entry), Some(protocol)) => {
                let port = Port { entry, protocol };
                if ports.contains(&port) {
                    later.push(protocol);
                    needed.push((decision, Some(port)));
                }
            }
            (Fate::Take(_), None) => {}
            (Fate::Leave | Fate::Refuse | Fate::Pass, _) => {
                if later.iter().any(|protocol| decision.concerns(*protocol)) {
                    needed.push((decision, None));
                }
            }
        }
    }
    needed.into_iter().rev()
}

/// Which destinations are meant.
enum Destinations {
    /// All.
    Every,
    /// Those of some networks, by family.
    Within(Vec<Cidr>),
    /// The made-up addresses of chosen names; networks do not matter to them.
    Fake(Vec<Cidr>),
    /// The true addresses of chosen names.
    Named,
}

impl Destinations {
    fn of(intent: &Intent) -> Self {
        let include = &intent.traffic.include;
        match (include.domains.is_empty(), &intent.resolve.fake) {
            (false, Some(fake)) => Self::Fake(fake.pools.clone()),
            (false, None) => Self::Named,
            (true, _) if include.cidrs.is_empty() => Self::Every,
            // A made-up address stands for whatever the name's true one is.
            (true, fake) => Self::Within(
                include
                    .cidrs
                    .iter()
                    .chain(fake.iter().flat_map(|fake| &fake.pools))
                    .copied()
                    .collect(),
            ),
        }
    }

    /// One list of tests for each alternative that a rule can hold.
    fn tests(&self) -> Vec<Vec<Test>> {
        match self {
            Self::Every => vec![Vec::new()],
            Self::Within(nets) | Self::Fake(nets) => {
                by_family(nets).map(|nets| vec![Test::To(nets)]).collect()
            }
            Self::Named => Family::ALL
                .map(|family| vec![Test::ToNames(NameSet::Included, family)])
                .to_vec(),
        }
    }

    const fn why(&self) -> &'static str {
        match self {
            Self::Every | Self::Within(_) => "to the engine",
            Self::Fake(_) => "a made-up address, which stands for a chosen name",
            Self::Named => "traffic.include.domains",
        }
    }
}

/// Which destinations are meant, whatever the protocol: the tests of each alternative.
pub fn destinations(intent: &Intent) -> Vec<Vec<Test>> {
    Destinations::of(intent).tests()
}

/// The networks of made-up addresses, one list a family.
pub fn pools(intent: &Intent) -> Vec<Vec<Cidr>> {
    let pools = intent.resolve.fake.as_ref().map(|fake| &fake.pools);
    pools.map_or_else(Vec::new, |pools| by_family(pools).collect())
}

/// The keys that mean nothing without DNS at the engine, or without a resolver outside the scope.
pub fn check(intent: &Intent, host: &Host, way: &Way) -> Result<(), PlanError> {
    names::check(intent, daemon(intent, host, way))
}

/// The resolver of this host that the engine would ask in the place of programs of this host.
pub fn daemon(intent: &Intent, host: &Host, way: &Way) -> Option<IpAddr> {
    names::resolver_here(intent, host).filter(|_| *way == Way::Local)
}

fn excluded(traffic: &Traffic) -> Vec<Decision> {
    let Filter {
        protocols: _,
        ports,
        cidrs,
        domains,
    } = &traffic.exclude;
    let mut all: Vec<_> = by_family(cidrs)
        .map(|nets| Decision::new([Test::To(nets)], Fate::Leave, "traffic.exclude.cidrs"))
        .collect();
    if !domains.is_empty() {
        all.extend(Family::ALL.map(|family| {
            let names = Test::ToNames(NameSet::Excluded, family);
            Decision::new([names], Fate::Leave, "traffic.exclude.domains")
        }));
    }
    if !ports.is_empty() {
        let why = "traffic.exclude.ports";
        all.extend(each_of(&Protocol::ALL, ports, Fate::Leave, why));
    }
    all
}

/// Whether nothing narrows the traffic.
pub fn is_everything(intent: &Intent) -> bool {
    let Filter {
        protocols,
        ports,
        cidrs,
        domains,
    } = &intent.traffic.include;
    protocols.is_empty() && ports.is_empty() && cidrs.is_empty() && domains.is_empty()
}

/// A port known to be one.
pub fn well_known(port: u16) -> PortRange {
    PortRange::one(port).expect("a well-known port is not 0")
}

fn each_of(
    protocols: &[Protocol],
    ports: &[PortRange],
    fate: Fate,
    why: &'static str,
) -> Vec<Decision> {
    let tests = |protocol| [Test::Protocol(protocol), Test::ToPort(ports.to_vec())];
    let each = protocols.iter().copied();
    each.map(|protocol| Decision::new(tests(protocol), fate, why))
        .collect()
}

/// Networks split by family, families without any left out.
fn by_family(cidrs: &[Cidr]) -> impl Iterator<Item = Vec<Cidr>> + '_ {
    Family::ALL
        .into_iter()
        .map(|family| {
            let of_family = |net: &Cidr| net.family() == family;
            cidrs.iter().copied().filter(of_family).collect::<Vec<_>>()
        })
        .filter(|nets| !nets.is_empty())
}
