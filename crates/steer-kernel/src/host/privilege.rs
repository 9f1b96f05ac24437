//! Whether this process may change the network.

use std::fs;

use steer_core::host::Presence;

use super::nft::Answer;

/// CAP_NET_ADMIN in effect, over the network namespace we are in.
///
/// In a user namespace the capability can be in effect without being one over the network
/// namespace, which belongs to another user namespace; netfilter's answer tells the two apart.
pub(super) fn net_admin(netfilter: &Answer) -> Presence {
    let effective = match fs::read_to_string("/proc/self/status") {
        Ok(status) => effective(&status),
        Err(error) => return Presence::Unknown(format!("/proc/self/status: {error}")),
    };
    match (effective, netfilter) {
        (None, _) => Presence::Unknown("/proc/self/status has no line CapEff".to_owned()),
        (Some(bits), _) if bits & NET_ADMIN == 0 => {
            Presence::Absent("not among this process's capabilities".to_owned())
        }
        (Some(_), Answer::Forbidden) => {
            Presence::Absent("the network namespace belongs to another user namespace".to_owned())
        }
        (Some(_), _) => Presence::Present,
    }
}

/// The capabilities in effect, a bit each; `None` where they cannot be read.
pub(crate) fn capabilities() -> Option<u64> {
    effective(&fs::read_to_string("/proc/self/status").ok()?)
}

/// The line `CapEff`, proc_pid_status(5).
fn effective(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// Bit 12, capabilities(7).
pub(super) const NET_ADMIN: u64 = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_over_another_namespace_does_not_count() {
        // Whatever this process has: where netfilter forbids, it is not there.
        assert!(matches!(net_admin(&Answer::Forbidden), Presence::Absent(_)));
    }

    #[test]
    fn the_effective_set_is_read_from_the_status() {
        assert_eq!(
            effective("CapPrm:\t0\nCapEff:\t0000000000001000\n"),
            Some(NET_ADMIN)
        );
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
