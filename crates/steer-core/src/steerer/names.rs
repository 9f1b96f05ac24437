//! What keys about names mean to a method that sees programs' packets or calls.

use std::net::IpAddr;

use crate::address::HostPattern;
use crate::host::Host;
use crate::intent::{Dns, Intent, OnFailure, Resolve};
use crate::key::Key;
use crate::plan::Plan;

use super::PlanError;

/// The resolver of this host that the engine would ask in the place of programs.
#[must_use]
pub fn resolver_here(intent: &Intent, host: &Host) -> Option<IpAddr> {
    let asked = match intent.resolve.resolver {
        Some(written) => vec![written.ip()],
        None => host.resolvers.clone(),
    };
    asked.into_iter().find(IpAddr::is_loopback)
}

/// The keys that mean nothing without DNS at the engine, or without a resolver outside the scope.
/// `resolver_here` is the one of this host that the engine would ask in the place of programs.
///
/// # Errors
/// One is written, and what it needs is not.
pub fn check(intent: &Intent, resolver_here: Option<IpAddr>) -> Result<(), PlanError> {
    let traffic = &intent.traffic;
    if traffic.dns == Some(Dns::Capture) {
        let Resolve { resolver, fake, .. } = &intent.resolve;
        let asks_itself = resolver_here.is_some() && intent.scope.is_everybody();
        return match (fake, resolver) {
            (Some(_), None) if asks_itself => Err(PlanError::Without {
                key: Key::FakeIp,
                needs: "`dns.resolver`, an address of another host (a resolver of this host is in \
                        the scope as well: what it asks would be answered with made-up addresses),",
            }),
            _ => Ok(()),
        };
    }
    let below = |patterns: &[HostPattern]| {
        let mut patterns = patterns.iter();
        patterns.any(|pattern| matches!(pattern, HostPattern::Below(_)))
    };
    let written = [
        (intent.resolve.fake.is_some(), Key::FakeIp),
        (intent.resolve.resolver.is_some(), Key::Resolver),
        (below(&traffic.include.domains), Key::IncludeDomains),
        (below(&traffic.exclude.domains), Key::ExcludeDomains),
    ];
    match written.into_iter().find(|(written, _)| *written) {
        None => Ok(()),
        Some((_, key @ (Key::IncludeDomains | Key::ExcludeDomains))) => Err(PlanError::Without {
            key,
            needs: "`traffic.dns: capture`, best with `dns.fake_ip`: which names there are below \
                    a `*.` only the answers tell,",
        }),
        Some((_, key)) => Err(PlanError::Without {
            key,
            needs: "`traffic.dns: capture`",
        }),
    }
}

/// Notes of what of DNS does not come by, where programs' packets are seen.
pub fn notes(intent: &Intent, resolver_here: Option<IpAddr>, plan: &mut Plan) {
    let traffic = &intent.traffic;
    let names = !traffic.include.domains.is_empty() || !traffic.exclude.domains.is_empty();
    let fake = intent.resolve.fake.is_some();
    if names && !fake {
        plan.note(
            "names stand for the addresses that they are known to have: another name of the same \
             address is taken for them",
        );
        if !traffic.include.domains.is_empty() && intent.failure() == OnFailure::Closed {
            plan.note(
                "of chosen names only the addresses that are known are refused when steering \
                 fails: a name that has none at the start is an error, unless dns: capture tells \
                 it before a program can use it",
            );
        }
    }
    if !traffic.include.domains.is_empty() && fake {
        plan.note(
            "of all else only port 53 is taken: names that are not chosen get their true addresses, \
             which go direct",
        );
    }
    if traffic.dns != Some(Dns::Capture) || traffic.captured().is_empty() {
        return;
    }
    if let Some(daemon) = resolver_here {
        let asks = format!("the resolver at {daemon} asks on behalf of programs");
        plan.note(match (intent.scope.is_everybody(), fake) {
            (true, true) => format!(
                "{asks}, and what it asks is captured as well: it must not be asked about chosen \
                 names, as it would get made-up addresses"
            ),
            (true, false) => format!(
                "{asks}, and what it asks is captured as well: names come by twice, the second \
                 time as asked by it"
            ),
            (false, true) => format!(
                "{asks}: what it asks others must be outside the scope, or it would get made-up \
                 addresses"
            ),
            (false, false) => format!(
                "{asks}: what it asks others is outside the scope, unless the scope names it"
            ),
        });
    }
}
