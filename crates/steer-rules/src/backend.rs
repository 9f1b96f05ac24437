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
use steer_kernel::route::RouteDriver;

/// A packet filter with the tables that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// nf_tables, without a program.
    Nft,
    /// The programs of a variant.
    Iptables(IptablesVariant),
}

impl Filter {
    /// The one for an intent on a host: as written, else nf_tables where it is known to be there,
    /// because its rules vanish with their owner.
    ///
    /// `iptables` means the programs over nf_tables unless the host has only the older ones.
    pub fn of(intent: &Intent, host: &Host) -> Self {
        let has = |variant| host.iptables.get(&variant) == Some(&Presence::Present);
        let programs = match (has(IptablesVariant::Nft), has(IptablesVariant::Legacy)) {
            (false, true) => IptablesVariant::Legacy,
            _ => IptablesVariant::Nft,
        };
        match (intent.backend, &host.nft) {
            (Some(Backend::Nft), _) => Self::Nft,
            (Some(Backend::Iptables), _) => Self::Iptables(programs),
            (Some(Backend::IptablesLegacy), _) => Self::Iptables(IptablesVariant::Legacy),
            (None, Presence::Absent(_)) if has(programs) => Self::Iptables(programs),
            (None, _) => Self::Nft,
        }
    }

    /// The rules as an object of this filter.
    pub fn object(self, rules: Ruleset) -> Object {
        match self {
            Self::Nft => Object::Nft(rules),
            Self::Iptables(variant) => Object::Iptables(rules, variant),
        }
    }

    /// What it needs.
    pub fn requirement(self, host: &Host) -> Requirement {
        let programs = |variant| {
            host.iptables
                .get(&variant)
                .cloned()
                .unwrap_or_else(|| Presence::Absent("no such program was found".to_owned()))
        };
        match self {
            Self::Nft => Requirement::new(
                "nf_tables in the kernel",
                host.nft.clone(),
                "load it (`modprobe nf_tables nft_redir nft_socket`), or choose \
                 `--backend iptables`",
            ),
            Self::Iptables(variant @ IptablesVariant::Nft) => Requirement::new(
                "iptables over nf_tables",
                programs(variant),
                "install it (`apt-get install iptables`), or choose `--backend nft`, which needs \
                 no program",
            ),
            Self::Iptables(variant @ IptablesVariant::Legacy) => Requirement::new(
                "iptables-legacy",
                programs(variant),
                "install it (`apt-get install iptables`) and load `ip_tables` and `ip6_tables`, or \
                 choose `--backend nft`, which needs no program",
            ),
        }
    }

    /// What handing packets to a transparent socket needs of it.
    pub fn transparency(self, host: &Host) -> Requirement {
        match self {
            Self::Nft => Requirement::new(
                "tproxy of nf_tables",
                host.tproxy.nft.clone(),
                "load it (`modprobe nft_tproxy nft_socket`), or choose `-m redirect`, which does \
                 without for TCP",
            ),
            Self::Iptables(_) => Requirement::new(
                "TPROXY of iptables",
                host.tproxy.iptables.clone(),
                "load it (`modprobe xt_TPROXY xt_socket`), or choose `-m redirect`, which does \
                 without for TCP",
            ),
        }
    }
}

/// The drivers that rules of any backend need.
pub fn drivers() -> Vec<Box<dyn Driver>> {
    vec![
        Box::new(CgroupDriver::new()),
        Box::new(RouteDriver::new()),
        Box::new(NftDriver::new()),
        Box::new(IptablesDriver::new()),
    ]
}
