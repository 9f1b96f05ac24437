//! Which packet filter the rules are written for.

use steer_core::driver::Driver;
use steer_core::host::{Host, Presence};
use steer_core::intent::{Backend, Intent};
use steer_core::object::{IptablesVariant, Object};
use steer_core::requirement::Requirement;
use steer_core::ruleset::Ruleset;
use steer_kernel::cgroup::CgroupDriver;
use steer_kernel::iptables::IptablesDriver;
use steer_kernel::nft::NftDriver;

/// The backend for an intent on a host: as written, else nf_tables where it is known to be there,
/// because its rules vanish with their owner.
pub(crate) fn choose(intent: &Intent, host: &Host) -> Backend {
    intent.backend.unwrap_or_else(|| {
        let iptables = host.iptables.get(&IptablesVariant::Nft);
        match (&host.nft, iptables) {
            (Presence::Absent(_), Some(Presence::Present)) => Backend::Iptables,
            _ => Backend::Nft,
        }
    })
}

/// The rules as an object of the chosen backend.
pub(crate) fn object(backend: Backend, rules: Ruleset) -> Object {
    match backend {
        Backend::Nft => Object::Nft(rules),
        Backend::Iptables => Object::Iptables(rules, IptablesVariant::Nft),
    }
}

/// What the chosen backend needs.
pub(crate) fn requirement(intent: &Intent, host: &Host) -> Requirement {
    match choose(intent, host) {
        Backend::Nft => Requirement::new(
            "nf_tables in the kernel",
            host.nft.clone(),
            "load it (`modprobe nf_tables nft_redir nft_socket`), or choose `--backend iptables`",
        ),
        Backend::Iptables => Requirement::new(
            "iptables over nf_tables",
            host.iptables
                .get(&IptablesVariant::Nft)
                .cloned()
                .unwrap_or_else(|| Presence::Absent("no iptables program was found".to_owned())),
            "install it (`apt-get install iptables`), or choose `--backend nft`, which needs no \
             program",
        ),
    }
}

/// The drivers that rules of either backend need.
pub(crate) fn drivers() -> Vec<Box<dyn Driver>> {
    vec![
        Box::new(CgroupDriver::new()),
        Box::new(NftDriver::new()),
        Box::new(IptablesDriver::new()),
    ]
}
