//! `dns`: how DNS is answered where it comes to the engine.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::document::{Node, Span, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::address::{Cidr, Destination, Family, canonical};
use crate::intent::{FakeIp, Resolve};

/// What `dns` says, with the places that other keys are compared with.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) resolve: Resolve,
    resolver: Option<Span>,
    fake_ip: Option<Span>,
}

/// Why a network cannot be a pool of made-up addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Its addresses have a meaning that no pool can have.
    #[error("{pool} overlaps {net}, whose addresses cannot stand for names")]
    Meaning {
        /// The pool.
        pool: Cidr,
        /// The network with a meaning.
        net: Cidr,
    },
    /// It is so small that names would soon take each other's addresses.
    #[error("{0} is too small a pool")]
    Small(Cidr),
    /// Another pool has the family.
    #[error("{second} is a second pool of {}", .second.family())]
    Second {
        /// The second one.
        second: Cidr,
    },
    /// The resolver's address is in it.
    #[error("the resolver {resolver} lies in the pool {pool}")]
    Resolver {
        /// The resolver.
        resolver: IpAddr,
        /// The pool.
        pool: Cidr,
    },
    /// Traffic to it is not steered.
    #[error("the pool {pool} overlaps {net}, which `traffic.exclude.cidrs` leaves out")]
    Excluded {
        /// The pool.
        pool: Cidr,
        /// The network that is excluded.
        net: Cidr,
    },
}

impl PoolError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        let usual = || {
            let usual: Vec<_> = FakeIp::default_pools()
                .iter()
                .map(|pool| format!("{:?}", pool.to_string()))
                .collect();
            usual.join(" and ")
        };
        match self {
            Self::Meaning { .. } => {
                format!(
                    "choose networks that nobody reaches; the usual ones are {}",
                    usual()
                )
            }
            Self::Small(pool) => format!(
                "choose a network of at least /{}; the usual ones are {}",
                smallest(pool.family()),
                usual()
            ),
            Self::Second { .. } => "keep one pool a family".to_owned(),
            Self::Resolver { .. } => {
                "write the resolver's real address, or choose another pool".to_owned()
            }
            Self::Excluded { .. } => {
                "exclude less, or choose another pool: a made-up address leads nowhere unless it \
                 is steered"
                    .to_owned()
            }
        }
    }
}

/// Reads `dns`.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Answers> {
    let section = Section::open(node, "dns", Keys::new(&KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty("dns".to_owned()));
    }
    let resolver = section
        .at("resolver")
        .and_then(|node| Some((resolver(node, report)?, node.span.clone())));
    let fake = section
        .at("fake_ip")
        .and_then(|node| Some((fake_ip(node, report)?, node.span.clone())));
    let (resolver, resolver_at) = resolver.unzip();
    let (fake, fake_at) = fake.unzip();
    Some(Answers {
        resolve: Resolve {
            resolver,
            fake: fake.flatten(),
            rebind: value::list(&section, "rebind", report, value::host),
        },
        resolver: resolver_at,
        fake_ip: fake_at,
    })
}

impl Answers {
    /// The resolver as a destination with its place, for the comparison with our listeners.
    pub(super) fn asked(&self) -> Option<(Destination, &Span)> {
        let resolver = self.resolve.resolver?;
        Some((Destination::addr(resolver), self.resolver.as_ref()?))
    }

    /// Notes pools that the resolver or excluded traffic takes away.
    pub(super) fn check(&self, excluded: &[Cidr], report: &mut Report<'_>) {
        let (Some(fake), Some(span)) = (&self.resolve.fake, &self.fake_ip) else {
            return;
        };
        for pool in &fake.pools {
            let resolver = self.resolve.resolver.map(|resolver| resolver.ip());
            if let (Some(resolver), Some(at)) = (
                resolver.filter(|resolver| pool.contains(*resolver)),
                &self.resolver,
            ) {
                let pool = *pool;
                report.fault(at, PoolError::Resolver { resolver, pool });
            }
            if let Some(net) = excluded.iter().find(|net| overlap(**net, *pool)) {
                let (pool, net) = (*pool, *net);
                report.fault(span, PoolError::Excluded { pool, net });
            }
        }
    }
}

/// An address, with a port where it is not 53.
fn resolver(node: &Node, report: &mut Report<'_>) -> Option<SocketAddr> {
    let given = value::text(node, "dns.resolver", "the address of a resolver", report)?;
    let port = 53;
    let address = given
        .parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, port))
        .or_else(|_| given.parse::<SocketAddr>())
        .ok()
        .map(canonical)
        .filter(|address| address.port() != 0 && is_host(address.ip()));
    address.or_else(|| report.none(&node.span, Fault::Resolver(given.to_owned())))
}

/// Whether one host can have the address.
fn is_host(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

/// Reads `dns.fake_ip`; `Some(None)` is `false`.
fn fake_ip(node: &Node, report: &mut Report<'_>) -> Option<Option<FakeIp>> {
    if let Value::Text(_) = &node.value {
        let wanted = value::truth(node, "dns.fake_ip", report)?;
        return Some(wanted.then(|| FakeIp {
            pools: FakeIp::default_pools(),
            names: Vec::new(),
            except: Vec::new(),
            file: None,
        }));
    }
    let section = Section::open(node, "dns.fake_ip", Keys::new(&FAKE_KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty(section.path));
    }
    let mut pools: Vec<Cidr> = Vec::new();
    value::list(&section, "pools", report, |node, key, report| {
        let pool = value::cidr(node, key, report)?;
        let second = pools.iter().any(|other| other.family() == pool.family());
        let error = if second {
            Some(PoolError::Second { second: pool })
        } else {
            fit(pool).err()
        };
        if let Some(error) = error {
            return report.none(&node.span, error);
        }
        pools.push(pool);
        Some(())
    });
    if section.at("pools").is_none() {
        pools = FakeIp::default_pools();
    }
    Some(Some(FakeIp {
        pools,
        names: value::list(&section, "names", report, value::host),
        except: value::list(&section, "except", report, value::host),
        file: section.at("file").and_then(|node| file(node, report)),
    }))
}

fn file(node: &Node, report: &mut Report<'_>) -> Option<PathBuf> {
    let path = value::text(node, "dns.fake_ip.file", "a path", report)?;
    if path.is_empty() {
        return report.none(&node.span, Fault::Empty("dns.fake_ip.file".to_owned()));
    }
    Some(PathBuf::from(path))
}

/// Whether a network can be a pool by itself.
fn fit(pool: Cidr) -> Result<(), PoolError> {
    let taken = MEANINGS
        .iter()
        .map(|net| net.parse().expect("a literal network is valid"));
    if let Some(net) = taken.into_iter().find(|net| overlap(pool, *net)) {
        return Err(PoolError::Meaning { pool, net });
    }
    if pool.prefix() > smallest(pool.family()) {
        return Err(PoolError::Small(pool));
    }
    Ok(())
}

/// The longest prefix that a pool may have: some hundred names, resp. some ten thousand.
const fn smallest(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 112,
    }
}

/// Whether two networks share addresses. IPv4 within IPv6 is IPv6 here, other than for
/// [`Cidr::contains`].
fn overlap(a: Cidr, b: Cidr) -> bool {
    let first = |net: Cidr| match net.address() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let shared = u32::from(a.prefix().min(b.prefix()));
    let differing = first(a) ^ first(b);
    a.family() == b.family() && differing.leading_zeros() >= shared
}

/// Networks that the kernel or everybody understands in a way of their own (RFC 6890): this host,
/// a link, a group, everybody, and IPv4 within IPv6.
const MEANINGS: [&str; 10] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
];

/// The keys of `dns`.
const KEYS: [&str; 3] = ["resolver", "fake_ip", "rebind"];
/// The keys of `dns.fake_ip`.
const FAKE_KEYS: [&str; 4] = ["pools", "names", "except", "file"];
