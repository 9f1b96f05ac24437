//! The methods that are built in.

use steer_core::driver::Driver;
use steer_core::method::Method;
use steer_core::steerer::Steerer;

/// Every method of this build.
#[must_use]
pub fn all() -> Vec<&'static dyn Steerer> {
    vec![
        #[cfg(feature = "redirect")]
        &steer_iptables::Redirect,
        #[cfg(feature = "tproxy")]
        &steer_iptables::Tproxy,
        #[cfg(feature = "ebpf")]
        &steer_ebpf::Ebpf,
        #[cfg(feature = "tun")]
        &steer_tun::Tun,
        #[cfg(feature = "tap")]
        &steer_tun::Tap,
        #[cfg(feature = "netns")]
        &steer_netns::Netns,
        #[cfg(feature = "seccomp")]
        &steer_seccomp::Seccomp,
        #[cfg(feature = "preload")]
        &steer_preload::Preload,
        #[cfg(feature = "explicit")]
        &steer_env::Explicit,
        #[cfg(feature = "env")]
        &steer_env::Env,
        #[cfg(feature = "dns")]
        &steer_dns::Dns,
    ]
}

/// The method of a name; `None` where this build lacks it.
#[must_use]
pub fn find(method: Method) -> Option<&'static dyn Steerer> {
    all().into_iter().find(|s| s.method() == method)
}

/// The drivers of every method of this build, one a domain.
#[must_use]
pub fn drivers() -> Vec<Box<dyn Driver>> {
    let mut drivers: Vec<Box<dyn Driver>> = Vec::new();
    for driver in all().into_iter().flat_map(|s| s.drivers()) {
        if drivers.iter().all(|d| d.domain() != driver.domain()) {
            drivers.push(driver);
        }
    }
    drivers
}
