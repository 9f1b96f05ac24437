//! Hooks of the kernel's socket layer (eBPF), at cgroups and at a network namespace.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Family, PortRange};
use crate::intent::{OnFailure, Scope, Traffic};
use crate::mark::Mark;
use crate::symbol::{Bindings, CgroupRef, Followed, NameSet, PortRef, Unbound};

/// Programs at the socket calls of whoever is in some cgroups: they send what is meant to the
/// engine, and tell the program the addresses that it asked for.
///
/// They take nothing without a listener that carries the engine's mark, so that they never lead to
/// a port that somebody else has got since. What is meant and cannot be taken is left alone under
/// `open` and refused under `closed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// The cgroups at which they are, each with all below it; the empty path is the root of the
    /// hierarchy as it is seen here.
    pub cgroups: Vec<CgroupRef>,
    /// Whose sockets are meant, as far as it is not said by the cgroups.
    pub scope: Scope,
    /// Cgroups (of `scope.pid`, made for them) to one of which the process must belong; an empty
    /// list asks for none.
    pub within: Vec<CgroupRef>,
    /// Which of their traffic.
    pub traffic: Traffic,
    /// The addresses that chosen names have.
    #[serde(default)]
    pub names: Followed,
    /// Networks whose addresses stand for names and lead nowhere: what goes there and is not taken is
    /// refused, whatever `on_failure` says and also where its port or protocol is left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_up: Vec<Cidr>,
    /// In which network namespaces.
    pub reach: Reach,
    /// Families whose connections can be taken here.
    pub families: Vec<Family>,
    /// Where what is taken goes.
    pub entrances: Vec<Entrance>,
    /// The mark of the engine's own sockets, which are left alone, and of its listeners.
    pub bypass: Mark,
    /// What happens when the engine is gone; it also says how they are attached. Under `open` they
    /// vanish with whoever holds them; under `closed` they stay with their cgroups.
    pub on_failure: OnFailure,
    /// Whether further connections are taken; those that were taken go on either way. What is meant
    /// cannot be taken where this is false: it is left alone under `open`, refused under `closed`.
    pub takes: bool,
}

/// In which network namespaces hooks act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// In the one of the object; sockets of others are not meant.
    Here,
    /// In every one that a process of the cgroups is in: a socket in one without a listener of the
    /// engine's is meant and cannot be taken.
    All,
}

/// Where something that is taken goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    /// What goes there.
    pub carries: Carries,
    /// The port of the listener.
    pub port: PortRef,
    /// Whether the listener is of another proxy, which asks for SO_ORIGINAL_DST.
    pub external: Option<SocketAddr>,
}

/// What goes to an entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carries {
    /// TCP connections.
    Streams,
    /// UDP datagrams.
    Datagrams,
    /// DNS over TCP.
    DnsStreams,
    /// DNS over UDP.
    DnsDatagrams,
}

/// A program at the lookup of sockets for what comes to a network namespace (`sk_lookup`): new TCP
/// connections from other hosts to these ports are given to a listener of the engine's, and keep
/// the addresses that they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The ports; an empty list means all.
    pub ports: Vec<PortRange>,
    /// Ports that are left alone.
    pub except: Vec<PortRange>,
    /// Where clients are whose connections are meant; an empty list means everywhere.
    pub from: Vec<Cidr>,
    /// The listener's port.
    pub port: PortRef,
    /// Families of the listener.
    pub families: Vec<Family>,
    /// What happens to such connections when the engine is gone.
    pub on_failure: OnFailure,
    /// Whether further connections are taken; what is meant is refused under `closed` where not.
    pub takes: bool,
}

/// Where connections on their way to the engine are addressed to, in each family: every one has an
/// address of its own there, by which the engine is told the original destination.
#[must_use]
pub fn token_net(family: Family) -> Cidr {
    let net = match family {
        Family::V4 => "127.128.0.0/9",
        Family::V6 => "fd5e:7ee2:0:f8e3::/64",
    };
    net.parse().expect("a literal network is valid")
}

/// Whether an address is one that stands for an original destination.
#[must_use]
pub fn is_token(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    token_net(Family::of(ip)).contains(ip)
}

impl Hooks {
    /// The names whose addresses it follows.
    pub(crate) fn followed(&self) -> Vec<NameSet> {
        let Traffic {
            include, exclude, ..
        } = &self.traffic;
        let chosen = [
            (NameSet::Included, &include.domains),
            (NameSet::Excluded, &exclude.domains),
        ];
        let chosen = chosen.into_iter().filter(|(_, names)| !names.is_empty());
        chosen.map(|(set, _)| set).collect()
    }

    /// The same with every symbol replaced by its value.
    pub(super) fn resolve(&self, bindings: &Bindings) -> Result<Self, Unbound> {
        let all = |list: &[CgroupRef]| -> Result<Vec<_>, Unbound> {
            list.iter().map(|c| bindings.cgroup(c)).collect()
        };
        let entrances = self.entrances.iter().map(|entrance| {
            Ok(Entrance {
                port: bindings.port(&entrance.port)?,
                ..entrance.clone()
            })
        });
        Ok(Self {
            cgroups: all(&self.cgroups)?,
            within: all(&self.within)?,
            entrances: entrances.collect::<Result<_, Unbound>>()?,
            names: bindings.names.clone(),
            ..self.clone()
        })
    }
}

impl fmt::Display for Carries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Streams => "tcp",
            Self::Datagrams => "udp",
            Self::DnsStreams => "dns over tcp",
            Self::DnsDatagrams => "dns over udp",
        })
    }
}

impl fmt::Display for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("socket hooks on")?;
        for (i, cgroup) in self.cgroups.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match cgroup {
                CgroupRef::Path(path) if path.is_empty() => write!(f, "{comma} every cgroup")?,
                cgroup => write!(f, "{comma} cgroup {cgroup}")?,
            }
        }
        f.write_str(match self.on_failure {
            OnFailure::Open => ", gone with their holder",
            OnFailure::Closed => ", they stay and refuse",
        })?;
        for Entrance {
            carries,
            port,
            external,
        } in &self.entrances
        {
            match external {
                Some(at) => write!(f, "\n  {carries} to {at}")?,
                None => write!(f, "\n  {carries} to port {port}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, ports: &[PortRange]| {
            ports.iter().try_for_each(|range| write!(f, " {range}"))
        };
        f.write_str("socket lookup of tcp to ports")?;
        match self.ports.as_slice() {
            [] => f.write_str(" 1-65535")?,
            ports => list(f, ports)?,
        }
        if !self.except.is_empty() {
            f.write_str(" except")?;
            list(f, &self.except)?;
        }
        for net in &self.from {
            write!(f, " from {net}")?;
        }
        write!(f, ", to port {}", self.port)
    }
}
