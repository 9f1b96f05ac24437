//! What the method needs of a host.

use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

/// What is known from outside; the rest shows when it is tried.
pub(crate) fn of(_intent: &Intent, host: &Host) -> Vec<Requirement> {
    vec![
        Requirement::new(
            "user namespaces",
            host.user_namespaces.clone(),
            "allow them: `sysctl -w user.max_user_namespaces=15000`, and \
             `sysctl -w kernel.unprivileged_userns_clone=1` or \
             `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` where there is such a key; \
             in a container, have its engine allow them; or use `-m seccomp`",
        ),
        Requirement::new(
            "tproxy of nf_tables in the kernel",
            host.tproxy.nft.clone(),
            "load them as root: `modprobe nft_tproxy nft_socket`; or use `-m seccomp`",
        ),
    ]
}
