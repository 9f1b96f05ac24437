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
            "where a sysctl is named, give it another value as root (`sysctl -w NAME=VALUE`): 15000 \
             for user.max_user_namespaces, user.max_net_namespaces and user.max_mnt_namespaces, 1 \
             for kernel.unprivileged_userns_clone, 0 for \
             kernel.apparmor_restrict_unprivileged_userns; run steer outside a chroot; in a \
             container, have its engine allow them; or use `-m seccomp`",
        ),
        Requirement::new(
            "tproxy of nf_tables in the kernel",
            host.tproxy.nft.clone(),
            "load them as root: `modprobe nft_tproxy nft_socket`; or use `-m seccomp`",
        ),
    ]
}
