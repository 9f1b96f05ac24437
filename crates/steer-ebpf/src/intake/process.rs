//! What /proc tells of a process, for as long as it is the one that is meant.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;

use nix::unistd::{SysconfVar, sysconf};

/// Whether process ids of the kernel's programs mean the same here: they are those of the initial
/// pid namespace.
pub(super) fn is_initial() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|ns| ns.st_ino() == INITIAL)
}

/// The program file of a process that began before `made` (nanoseconds since boot); none where it is
/// gone, or another one has its number.
pub(super) fn exe(pid: u32, made: u64) -> Option<PathBuf> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    is_still(pid, made).then_some(exe)
}

/// The name of such a process, which may be another one than that of its thread that called.
pub(super) fn command(pid: u32, made: u64) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    is_still(pid, made).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Whether a process began before `made`. Asked after what is to be known of it: a later process would
/// show a later start.
fn is_still(pid: u32, made: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| began(&stat).is_some_and(|began| began <= made))
}

/// The cgroup of a process below the root of the unified hierarchy, as it is seen here.
pub(super) fn cgroup(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(path.to_owned())
}

/// When a process began, by the 22nd word of its `stat` (proc_pid_stat(5)), in nanoseconds since
/// boot.
fn began(stat: &str) -> Option<u64> {
    // The name may have blanks and brackets of its own.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let a_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let a_second = u64::try_from(a_second).ok().filter(|hz| *hz > 0)?;
    Some(ticks.saturating_mul(1_000_000_000 / a_second))
}

/// The inode of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL: u64 = 0xeffffffc;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_began_later_is_another_one() {
        let me = std::process::id();
        assert_eq!(exe(me, u64::MAX), std::env::current_exe().ok());
        assert_eq!(exe(me, 0), None);
        assert_eq!(exe(u32::MAX, u64::MAX), None);
    }

    #[test]
    fn a_process_has_the_name_of_its_first_thread() {
        let me = std::process::id();
        let first = fs::read_to_string(format!("/proc/{me}/task/{me}/comm")).unwrap();
        let told = std::thread::Builder::new()
            .name("another".to_owned())
            .spawn(move || command(me, u64::MAX));
        let told = told.unwrap().join().unwrap();
        assert_eq!(told.as_deref(), Some(first.trim_end()));
        assert_eq!(command(me, 0), None);
    }

    #[test]
    fn the_start_is_read_after_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123 0 0";
        let hz = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        let expected = 123 * 1_000_000_000 / u64::try_from(hz).unwrap();
        assert_eq!(began(stat), Some(expected));
    }
}
