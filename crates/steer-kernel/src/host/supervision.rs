//! Whether a command's system calls can come to a supervisor.

use std::fs;
use std::io;

use nix::errno::Errno;
use steer_core::host::Presence;

use super::privilege;
use crate::seccomp;

/// seccomp_unotify(2), and the right to take what a supervisor needs of the command's processes:
/// duplicates of their sockets and a look at their memory.
pub(super) fn presence() -> Presence {
    if let Err(error) = seccomp::try_supervision() {
        return refused(&error);
    }
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match (scope.trim(), privilege::capabilities()) {
        // Nothing but descendants, which the command is.
        ("" | "0" | "1", _) => Presence::Present,
        ("2", Some(bits)) if bits & SYS_PTRACE != 0 => Presence::Present,
        (scope, _) => Presence::Absent(format!(
            "kernel.yama.ptrace_scope={scope} lets nobody take a socket from another process"
        )),
    }
}

fn refused(error: &io::Error) -> Presence {
    let why = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => "another supervisor has this process's system calls",
        Some(Errno::EINVAL | Errno::ENOSYS) => {
            "the kernel lacks seccomp_unotify(2) or pidfd_getfd(2) (Linux 5.6)"
        }
        Some(Errno::EPERM | Errno::EACCES) => {
            "a sandbox around this process forbids seccomp(2) or pidfd_getfd(2)"
        }
        _ => return Presence::Unknown(format!("seccomp(2): {error}")),
    };
    Presence::Absent(why.to_owned())
}

/// Bit 19, capabilities(7).
const SYS_PTRACE: u64 = 1 << 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_under_a_supervisor_cannot_be_put_under_another() {
        std::thread::spawn(|| {
            assert_eq!(presence(), Presence::Present);
            let _first = seccomp::install_supervised(&seccomp::Program::supervised()).unwrap();
            let Presence::Absent(why) = presence() else {
                panic!("a second supervisor was said to be possible");
            };
            assert!(why.contains("another supervisor"), "{why}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_refusal_of_the_kernel_says_what_it_means() {
        let of = |errno: Errno| refused(&errno.into());
        assert!(matches!(of(Errno::EINVAL), Presence::Absent(_)));
        assert!(matches!(of(Errno::EPERM), Presence::Absent(_)));
        assert!(matches!(of(Errno::ENOMEM), Presence::Unknown(_)));
    }
}
