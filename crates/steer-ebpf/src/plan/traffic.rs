//! Which traffic of the scope, as hooks are told.

use steer_core::intent::{Dns, Intent, Loopback, Quic, Traffic};

/// The traffic with every choice made: made-up addresses stand for the names that have them, and
/// names count in the place of networks.
pub(crate) fn hooked(intent: &Intent) -> Traffic {
    let mut traffic = intent.traffic.clone();
    traffic.loopback.get_or_insert(Loopback::Skip);
    traffic.dns.get_or_insert(Dns::Leave);
    traffic.quic.get_or_insert(Quic::Steer);
    let pools = intent.resolve.fake.as_ref().map(|fake| &fake.pools);
    let include = &mut traffic.include;
    match (include.domains.is_empty(), pools) {
        (false, Some(pools)) => {
            include.domains.clear();
            include.cidrs.clone_from(pools);
        }
        (false, None) => include.cidrs.clear(),
        (true, Some(pools)) if !include.cidrs.is_empty() => include.cidrs.extend(pools),
        (true, _) => {}
    }
    traffic
}
