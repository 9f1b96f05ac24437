//! The processes that a scope means, and their sockets.

use std::fs;
use std::os::unix::fs::MetadataExt;

use steer::core::intent::{Scope, Selector};
use steer::core::plan::Netns;

use super::ByPlace;

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Process {
    uid: u32,
    gid: u32,
    /// Below the hierarchy's root, without a slash at either end.
    cgroup: String,
    command: String,
}

/// The sockets of the processes that a scope means, by the namespace that each process is in: of
/// `netns` alone, or of all. This process is never meant.
pub(super) fn sockets(scope: &Scope, alone: bool, netns: &Netns) -> ByPlace {
    let path = match netns {
        Netns::Path(path) => path.as_str(),
        _ => "/proc/self/ns/net",
    };
    let here = identity(path);
    let me = std::process::id();
    let mut found = ByPlace::new();
    let mut seen: Vec<((u64, u64), Netns)> = Vec::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| *pid != me) {
        // Whoever ends meanwhile takes his connections along.
        if !Process::read(pid).is_some_and(|process| is_meant(&process, scope)) {
            continue;
        }
        let inside = format!("/proc/{pid}/ns/net");
        let Some(id) = identity(&inside) else {
            continue;
        };
        if alone && Some(id) != here {
            continue;
        }
        let known = seen.iter().find(|(other, _)| *other == id);
        let place = match known {
            Some((_, place)) => place.clone(),
            None if Some(id) == here => netns.clone(),
            None => Netns::Path(inside),
        };
        seen.push((id, place.clone()));
        found.entry(place).or_default().extend(inodes(pid));
    }
    found
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        Self::parse(&read("status")?, &read("cgroup")?, &read("comm")?)
    }

    /// `status`, `cgroup` and `comm` of proc(5).
    fn parse(status: &str, cgroup: &str, comm: &str) -> Option<Self> {
        // Real, effective, saved, of the file system.
        let id = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            line.split_ascii_whitespace().nth(1)?.parse().ok()
        };
        let cgroup = cgroup.lines().find_map(|l| l.strip_prefix("0::/"));
        Some(Self {
            uid: id("Uid:")?,
            gid: id("Gid:")?,
            cgroup: cgroup.unwrap_or_default().to_owned(),
            command: comm.trim_end_matches('\n').to_owned(),
        })
    }
}

/// Whether every key of a scope holds for it, and none that subtracts.
fn is_meant(process: &Process, scope: &Scope) -> bool {
    let holds = |selector: &Selector| {
        let Keys {
            uid,
            gid,
            cgroup,
            command,
        } = Keys::of(process, selector);
        [uid, gid, cgroup, command]
    };
    let of = holds(&scope.of).into_iter().all(|key| key != Some(false));
    of && !holds(&scope.except).contains(&Some(true))
}

/// Whether each key of a selector holds; `None` is not written.
struct Keys {
    uid: Option<bool>,
    gid: Option<bool>,
    cgroup: Option<bool>,
    command: Option<bool>,
}

impl Keys {
    fn of(process: &Process, selector: &Selector) -> Self {
        fn any<T>(list: &[T], holds: impl FnMut(&T) -> bool) -> Option<bool> {
            (!list.is_empty()).then(|| list.iter().any(holds))
        }
        Self {
            uid: any(&selector.uid, |range| range.contains(process.uid)),
            gid: any(&selector.gid, |range| range.contains(process.gid)),
            cgroup: any(&selector.cgroup, |path| is_in(&process.cgroup, path)),
            command: any(&selector.command, |name| *name == process.command),
        }
    }
}

fn is_in(cgroup: &str, path: &str) -> bool {
    let rest = cgroup.strip_prefix(path);
    path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn identity(path: &str) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The numbers of the sockets that a process has open.
fn inodes(pid: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    entries.flatten().flatten().filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        number.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        let status = "Name:\tx\nUid:\t1\t1000\t1\t1\nGid:\t2\t2000\t2\t2\n";
        Process::parse(status, "3:cpu:/x\n0::/app.slice/a.service\n", "curl\n").unwrap()
    }

    #[test]
    fn a_process_is_read_with_what_it_acts_as() {
        let expected = Process {
            uid: 1000,
            gid: 2000,
            cgroup: "app.slice/a.service".to_owned(),
            command: "curl".to_owned(),
        };
        assert_eq!(process(), expected);
        assert_eq!(Process::parse("Name:\tx\n", "0::/\n", "x\n"), None);
    }

    #[test]
    fn every_key_must_hold_and_none_of_those_that_subtract() {
        let mut scope = Scope::default();
        scope.of.cgroup = vec!["other".to_owned(), "app.slice".to_owned()];
        assert!(is_meant(&process(), &scope));
        scope.of.uid = vec!["0".parse().unwrap()];
        assert!(!is_meant(&process(), &scope));
        scope.of.uid.push("1000-1999".parse().unwrap());
        assert!(is_meant(&process(), &scope));
        scope.except.command = vec!["curl".to_owned()];
        assert!(!is_meant(&process(), &scope));
        assert!(!is_in("app.slicer", "app.slice") && is_in("a", ""));
    }

    #[test]
    fn a_process_s_sockets_are_found_by_their_numbers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let all = steer::kernel::sock_diag::SockDiag::open()
            .unwrap()
            .tcp()
            .unwrap();
        let own = all
            .iter()
            .find(|c| c.local == listener.local_addr().unwrap());
        let own = own.unwrap().inode;
        assert!(inodes(std::process::id()).any(|inode| inode == own));
        // And never of this process, whatever the scope says.
        let found = sockets(&Scope::default(), true, &Netns::Here);
        assert!(found.values().flatten().all(|inode| *inode != own));
    }
}
