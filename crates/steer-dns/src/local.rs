//! The addresses of this host that stand for names when the method is `dns` alone.
//!
//! All of 127.0.0.0/8 is local everywhere, so a listener can have any address of it, and nothing
//! has to be changed for programs to reach it. IPv6 has one loopback address, so names have none
//! there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use steer_core::address::{Cidr, HostName, HostPattern};
use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::object::Object;
use steer_core::plan::Plan;
use steer_core::policy::App;

use crate::error::ResolverError;
use crate::fake::{Choice, Fake, Pool};

/// The network whose addresses stand for names; the tokens of other methods lie elsewhere.
pub(crate) fn range() -> Cidr {
    "127.83.0.0/16".parse().expect("a literal network is valid")
}

/// Where the resolver is, so that it needs no port of 127.0.0.1.
pub(crate) const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 0, 1));

/// Who is asked about names that are not chosen, and about those of chosen names that the engine
/// dials: the one that is written, else the first that programs here are told to ask, but for this
/// one and those who ask it in their turn.
///
/// # Errors
/// Why there is none.
pub(crate) fn upstream(intent: &Intent, host: &Host) -> Result<SocketAddr, String> {
    if let Some(written) = intent.resolve.resolver {
        return if range().contains(written.ip()) {
            Err(format!("dns.resolver is {written}, which is this resolver"))
        } else {
            Ok(written)
        };
    }
    let mut others = host.resolvers.iter();
    let other = others.find(|ip| !range().contains(**ip) && !STUBS.contains(ip));
    match (other, host.resolvers.iter().find(|ip| STUBS.contains(ip))) {
        (Some(other), _) => Ok(SocketAddr::new(*other, 53)),
        (None, Some(stub)) => Err(format!(
            "/etc/resolv.conf names systemd-resolved ({stub}), which asks this resolver where it \
             is set up to, and dns.resolver is not written"
        )),
        (None, None) => Err(
            "/etc/resolv.conf names none but this one, and dns.resolver is not written".to_owned(),
        ),
    }
}

/// Where systemd-resolved answers (systemd-resolved.service(8)).
const STUBS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)),
];

/// Whether a plan has the resolver of the method.
pub(crate) fn serves(plan: &Plan) -> bool {
    plan.objects.iter().any(|planned| match &planned.object {
        Object::Listener(listener) => {
            listener.method == Method::Dns && listener.app == Some(App::Dns)
        }
        _ => false,
    })
}

/// The names that have an address from the start, as written.
pub(crate) fn pinned(intent: &Intent) -> Vec<HostName> {
    let choice = choice(intent);
    let mut names: Vec<HostName> = Vec::new();
    for pattern in &intent.traffic.include.domains {
        if let HostPattern::Exact(name) = pattern
            && choice.takes(name)
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}

/// How many names below a `*.` can have an address at a time.
pub(crate) fn on_demand(intent: &Intent) -> u32 {
    let wild = |pattern: &HostPattern| matches!(pattern, HostPattern::Below(_));
    if intent.traffic.include.domains.iter().any(wild) {
        ON_DEMAND
    } else {
        0
    }
}

/// The addresses that names have or may get, those of the pinned ones first.
pub(crate) fn addresses(intent: &Intent) -> Vec<IpAddr> {
    let pinned = u32::try_from(pinned(intent).len()).unwrap_or(u32::MAX);
    let pool = Pool::new(range());
    let places = pinned.saturating_add(on_demand(intent)).min(pool.places());
    (0..places).map(|place| pool.address(place)).collect()
}

/// The names with their addresses.
pub(crate) fn names(intent: &Intent) -> Result<Fake, ResolverError> {
    let others = on_demand(intent);
    Fake::new(&[range()], choice(intent), &pinned(intent), Some(others))
}

fn choice(intent: &Intent) -> Choice {
    let traffic = &intent.traffic;
    Choice::new(&traffic.include.domains, &traffic.exclude.domains)
}

/// A listener is needed for each on each port, whether it gets a name or not.
const ON_DEMAND: u32 = 64;
