//! What the drivers of a real kernel share.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use steer_core::address::Protocol;
use steer_core::driver::{DriverError, Lifeline};
use steer_core::mark::Mark;
use steer_core::object::{Domain, Object};
use steer_core::plan::{Netns, Planned};
use steer_core::ruleset::{Rule, Test, Verdict};

use super::claims::{Claim, Claims};
use super::netns::{self, Pins, duplicate, within};
use crate::conntrack::Conntrack;

/// The namespaces that are held, what is claimed in them, and connections that are forgotten.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    pins: Pins,
    claims: Claims,
}

/// What became of the wish to have something for a while.
#[derive(Debug)]
pub(crate) enum Borrowed {
    /// It is the caller's while this lives, or was before.
    Ours(#[expect(dead_code, reason = "held, not read")] Option<OwnedFd>),
    /// Another steering has it.
    Theirs,
}

impl Kernel {
    /// Holds the namespace of a path and gives its identity.
    pub(super) fn hold(&mut self, path: &str) -> Result<String, DriverError> {
        self.pins.hold(path).map_err(|source| {
            DriverError::new(
                Domain::Route,
                format!("could not hold the network namespace {path}"),
                "look for it with ip netns list; opening that of another process needs root",
            )
            .because(source)
        })
    }

    /// Holds a namespace that the engine has opened.
    pub(super) fn hold_opened(&mut self, path: &str, fd: OwnedFd) {
        self.pins.adopt(path, fd);
    }

    pub(super) fn let_go(&mut self) {
        self.claims = Claims::default();
        self.pins = Pins::default();
    }

    /// Claims something in a namespace until [`Kernel::let_go`]; `false` where another steering
    /// has it.
    pub(super) fn claim(&mut self, netns: &Netns, claim: &Claim) -> Result<bool, DriverError> {
        let id = netns::identity(netns).map_err(|error| unclaimed(netns, claim, error))?;
        if self.claims.has(&id, claim) {
            return Ok(true);
        }
        let taken = within(Domain::Route, netns, || claim.take())?;
        match taken.map_err(|error| unclaimed(netns, claim, error))? {
            Some(socket) => {
                self.claims.insert(&id, claim, socket);
                Ok(true)
            }
            // A name tells of nothing but itself, and a stranger could keep any start from it.
            None => match claim {
                Claim::Name(_) => Ok(!is_held(netns, claim)?),
                Claim::Slot(_) | Claim::Mark(_) => Ok(false),
            },
        }
    }

    /// Claims something for a while, so that nobody takes it meanwhile.
    pub(super) fn borrow(&self, netns: &Netns, claim: &Claim) -> Result<Borrowed, DriverError> {
        let id = netns::identity(netns).map_err(|error| unclaimed(netns, claim, error))?;
        if self.claims.has(&id, claim) {
            return Ok(Borrowed::Ours(None));
        }
        let taken = within(Domain::Route, netns, || claim.take())?;
        match taken.map_err(|error| unclaimed(netns, claim, error))? {
            None if is_held(netns, claim)? => Ok(Borrowed::Theirs),
            taken => Ok(Borrowed::Ours(taken)),
        }
    }

    /// Duplicates of the held namespaces and of the claims, for a successor.
    pub(super) fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        let line = |(path, file): (&String, _)| {
            Ok(Lifeline {
                domain: Domain::Route,
                netns: Netns::Path(path.clone()),
                label: NAMESPACE.to_owned(),
                fd: duplicate(file)?,
            })
        };
        let mut lines: Vec<Lifeline> = self.pins.held().map(line).collect::<io::Result<_>>()?;
        lines.extend(self.claims.lifelines()?);
        Ok(lines)
    }

    /// Takes over a held namespace or a claim; gives back what is something else.
    pub(super) fn adopt(&mut self, lifeline: Lifeline) -> Result<(), Lifeline> {
        match &lifeline.netns {
            Netns::Path(path) if lifeline.label == NAMESPACE => {
                self.pins.adopt(path, lifeline.fd);
                Ok(())
            }
            _ => self.claims.adopt(lifeline),
        }
    }

    /// Makes conntrack forget the flows that rules took which are gone.
    ///
    /// It would go on rewriting them to a port that nobody reads any more, for as long as the
    /// program goes on sending, or keep a mark that the next steering takes for its own. Those of
    /// TCP ended with the engine's sockets, but for those that went by a device: nobody has told
    /// the program's end.
    pub(super) fn forget_flows(&self, from: &[Planned], to: &[Planned]) {
        let (stay, marks_stay) = (redirected(to), tracked(to));
        for (netns, ports) in redirected(from) {
            let stay = stay.get(&netns);
            let gone = |port: &u16| stay.is_none_or(|ports| !ports.contains(port));
            let ports: BTreeSet<u16> = ports.into_iter().filter(gone).collect();
            if !ports.is_empty() {
                forget(&netns, |conntrack| conntrack.forget(Protocol::Udp, &ports));
            }
        }
        let had_device = with_device(from);
        for (netns, mut marks) in tracked(from) {
            let stay = marks_stay.get(&netns);
            marks.retain(|mark| stay.is_none_or(|marks| !marks.contains(mark)));
            if marks.is_empty() {
                continue;
            }
            let tcp = had_device.contains(&netns).then_some(Protocol::Tcp);
            for protocol in tcp.into_iter().chain([Protocol::Udp]) {
                forget(&netns, |conntrack| {
                    conntrack.forget_marked(protocol, &marks)
                });
            }
        }
    }

    /// The TCP connections that carry a mark of these objects and went by a device, by namespace.
    pub(super) fn flows_by_device(
        &self,
        objects: &[Planned],
    ) -> Vec<(Netns, Vec<(SocketAddr, SocketAddr)>)> {
        let by_device = with_device(objects);
        let marked = tracked(objects).into_iter();
        let marked = marked.filter(|(netns, marks)| by_device.contains(netns) && !marks.is_empty());
        let mut all = Vec::new();
        for (netns, marks) in marked {
            let flows = within(Domain::Route, &netns, || {
                Conntrack::open()?.marked(Protocol::Tcp, &marks)
            });
            match flows.map_err(io::Error::other).flatten() {
                Ok(flows) => all.push((netns, flows)),
                Err(error) => tracing::warn!(%error, "steered connections are not known"),
            }
        }
        all
    }
}

fn is_held(netns: &Netns, claim: &Claim) -> Result<bool, DriverError> {
    within(Domain::Route, netns, || claim.is_held())?
        .map_err(|error| unclaimed(netns, claim, error))
}

fn unclaimed(netns: &Netns, claim: &Claim, error: io::Error) -> DriverError {
    let place = match netns {
        Netns::Path(path) => path,
        _ => "/proc/self/ns/net",
    };
    DriverError::new(
        Domain::Route,
        format!("could not claim {claim} in the network namespace {place}"),
        "it takes a Unix socket: see whether a sandbox forbids them",
    )
    .because(error)
}

fn forget(netns: &Netns, flows: impl Fn(&Conntrack) -> io::Result<usize> + Sync) {
    let forgotten = within(Domain::Route, netns, || flows(&Conntrack::open()?));
    // They end by themselves when they are silent for some time; the rules are gone.
    match forgotten {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "steered flows are not forgotten at once");
        }
        Err(error) => {
            let error = &error as &dyn Error;
            tracing::warn!(error, "steered flows are not forgotten at once");
        }
    }
}

/// The namespaces in which there are devices.
fn with_device(objects: &[Planned]) -> BTreeSet<&Netns> {
    let is_one = |planned: &&Planned| matches!(planned.object, Object::Device(_));
    objects.iter().filter(is_one).map(|p| &p.netns).collect()
}

/// The marks of connections that rules set or look at, by namespace.
fn tracked(objects: &[Planned]) -> BTreeMap<Netns, Vec<Mark>> {
    let mut all: BTreeMap<Netns, Vec<Mark>> = BTreeMap::new();
    for planned in objects {
        let (Object::Nft(rules) | Object::Iptables(rules, _)) = &planned.object else {
            continue;
        };
        for rule in rules.chains.iter().flat_map(|chain| &chain.rules) {
            let set = match &rule.verdict {
                Verdict::Track(mark) => mark.bits(),
                _ => None,
            };
            let looked_at = rule.tests.iter().filter_map(|test| match test {
                Test::Tracked(mark) => mark.bits(),
                _ => None,
            });
            let marks = all.entry(planned.netns.clone()).or_default();
            marks.extend(set.into_iter().chain(looked_at));
        }
    }
    all
}

/// The ports that rules redirect UDP to, by namespace.
fn redirected(objects: &[Planned]) -> BTreeMap<Netns, BTreeSet<u16>> {
    let mut all: BTreeMap<Netns, BTreeSet<u16>> = BTreeMap::new();
    for planned in objects {
        let (Object::Nft(rules) | Object::Iptables(rules, _)) = &planned.object else {
            continue;
        };
        let rules = rules.chains.iter().flat_map(|chain| &chain.rules);
        let ports: Vec<u16> = rules.filter_map(redirects_udp).collect();
        if !ports.is_empty() {
            all.entry(planned.netns.clone()).or_default().extend(ports);
        }
    }
    all
}

fn redirects_udp(rule: &Rule) -> Option<u16> {
    let Verdict::Redirect(port) = &rule.verdict else {
        return None;
    };
    rule.tests
        .contains(&Test::Protocol(Protocol::Udp))
        .then(|| port.number())?
}

/// The label of lifelines that are held namespaces.
const NAMESPACE: &str = "namespace";
