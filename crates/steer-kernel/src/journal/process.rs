//! Processes told apart from later ones that got the same number.

use std::fs;
use std::io;

use steer_core::journal::ProcessId;

/// This process.
#[must_use]
pub fn this() -> ProcessId {
    let pid = std::process::id();
    ProcessId {
        pid,
        // Without a readable /proc there is no start time; the number alone has to do.
        started: started(pid).unwrap_or_default(),
    }
}

/// Whether the process still runs; a zombie does not.
#[must_use]
pub fn is_alive(id: ProcessId) -> bool {
    match stat(id.pid) {
        Ok((state, started)) => started == id.started && !matches!(state, 'Z' | 'X'),
        Err(_) => false,
    }
}

/// Whether the process is stopped (by a signal, not by a debugger).
pub(crate) fn is_stopped(pid: u32) -> bool {
    stat(pid).is_ok_and(|(state, _)| state == 'T')
}

/// When the process was started, in ticks since the machine was.
pub(crate) fn started(pid: u32) -> io::Result<u64> {
    stat(pid).map(|(_, started)| started)
}

/// State and start time: fields 3 and 22 of `/proc/PID/stat`, proc_pid_stat(5).
fn stat(pid: u32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse(text: &str) -> Option<(char, u64)> {
    // The program's name may hold spaces and brackets; what follows the last bracket does not.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 10 11";
        assert_eq!(parse(text), Some(('S', 98765)));
    }

    #[test]
    fn this_process_is_alive_and_an_earlier_one_of_its_number_is_not() {
        let me = this();
        assert!(is_alive(me));
        assert!(!is_alive(ProcessId {
            started: me.started - 1,
            ..me
        }));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let id = ProcessId {
            pid: child.id(),
            started: started(child.id()).unwrap(),
        };
        assert!(is_alive(id));
        child.kill().unwrap();
        // Waits for the end without reaping.
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(id.pid.try_into().unwrap())),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        assert!(!is_alive(id));
        child.wait().unwrap();
    }
}
