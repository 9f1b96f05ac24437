//! Whether programs can be loaded into the kernel's socket layer.

use std::fs;
use std::io;

use nix::errno::Errno;
use steer_core::host::Presence;

use super::privilege;
use crate::sys::bpf;

/// bpf(2) and what it takes, tried with a map and a program that go at once.
///
/// What the kernel asks for is the capabilities over the initial user namespace, so that root in
/// another one has them in effect and is refused all the same.
pub(super) fn presence() -> Presence {
    let missing = match privilege::capabilities() {
        Some(bits) if bits & (BPF | SYS_ADMIN) == 0 => Some("CAP_BPF (or CAP_SYS_ADMIN)"),
        Some(bits) if bits & (PERFMON | SYS_ADMIN) == 0 => Some("CAP_PERFMON (or CAP_SYS_ADMIN)"),
        Some(bits) if bits & privilege::NET_ADMIN == 0 => Some("CAP_NET_ADMIN"),
        _ => None,
    };
    if let Some(missing) = missing {
        return Presence::Absent(format!(
            "{missing} is not among this process's capabilities"
        ));
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    match bpf::map().and_then(|_map| bpf::program()) {
        Ok(_) => Presence::Present,
        Err(errno) => refused(errno, locked(&lockdown)),
    }
}

fn refused(errno: Errno, lockdown: Option<&str>) -> Presence {
    let why = match (errno, lockdown) {
        (Errno::ENOSYS, _) => "the kernel has no bpf(2) (CONFIG_BPF_SYSCALL)".to_owned(),
        (Errno::EINVAL, _) => {
            "the kernel has no hook for connect (Linux 4.17, CONFIG_CGROUP_BPF)".to_owned()
        }
        (Errno::EPERM | Errno::EACCES, Some(mode)) => {
            format!("the kernel is locked down ({mode}), and bpf(2) is forbidden")
        }
        (Errno::EPERM | Errno::EACCES, None) => {
            "bpf(2) is forbidden: by a sandbox around this process, or because its capabilities \
             are not over the initial user namespace; before Linux 5.11 also by `ulimit -l`"
                .to_owned()
        }
        _ => return Presence::Unknown(format!("bpf(2): {}", io::Error::from(errno))),
    };
    Presence::Absent(why)
}

/// The mode in brackets, unless it is `none` (kernel_lockdown(7)).
fn locked(modes: &str) -> Option<&str> {
    let (_, rest) = modes.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    (mode != "none").then_some(mode)
}

/// Bit 21, capabilities(7).
const SYS_ADMIN: u64 = 1 << 21;
/// Bit 38: programs that compare places in memory.
const PERFMON: u64 = 1 << 38;
/// Bit 39.
const BPF: u64 = 1 << 39;

#[cfg(test)]
mod tests {
    use lab::{Need, require};

    use super::*;

    #[test]
    fn root_can_load_programs() {
        if require(&[Need::Root]) {
            assert_eq!(presence(), Presence::Present);
        }
    }

    #[test]
    fn the_mode_of_lockdown_is_the_one_in_brackets() {
        assert_eq!(
            locked("none integrity [confidentiality]\n"),
            Some("confidentiality")
        );
        assert_eq!(locked("[none] integrity confidentiality\n"), None);
        assert_eq!(locked(""), None);
    }

    #[test]
    fn a_refusal_says_what_forbids_it() {
        let told = |errno, lockdown| match refused(errno, lockdown) {
            Presence::Absent(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(told(Errno::EPERM, Some("integrity")).contains("locked down (integrity)"));
        assert!(told(Errno::EPERM, None).contains("user namespace"));
        assert!(told(Errno::EINVAL, None).contains("4.17"));
        assert!(matches!(refused(Errno::ENOMEM, None), Presence::Unknown(_)));
    }
}
