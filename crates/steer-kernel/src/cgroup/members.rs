//! Running processes that are moved into a cgroup below their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{CgroupError, CgroupTree};

/// Moves processes and all that they have started into a cgroup, out of the one above it.
///
/// Those of their descendants that live in other cgroups stay there: somebody has put them there,
/// and nobody could say later where they were.
///
/// # Errors
/// One of the processes is not there, or the kernel does not let it be moved; those that were
/// moved before stay moved.
pub(super) fn take_in(tree: &CgroupTree, path: &str, pids: &[u32]) -> Result<(), CgroupError> {
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    let (target, above) = (tree.cgroup(path)?, tree.cgroup(above)?);
    let (inside, outside) = (target.processes()?, above.processes()?);
    let lost = |pid: &&u32| !inside.contains(pid) && !outside.contains(pid);
    if let Some(pid) = pids.iter().find(lost) {
        return Err(CgroupError::NoProcess {
            pid: *pid,
            path: above.path().to_owned(),
        });
    }
    // What a process forks before it is moved is outside, and what it forks later inside.
    for _ in 0..TURNS {
        let outside = above.processes()?;
        let left = descendants(pids, &parents(&outside));
        let left: Vec<u32> = outside.into_iter().filter(|p| left.contains(p)).collect();
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            match target.join(pid) {
                // It ended by itself.
                Err(CgroupError::Failed { source, .. })
                    if source.raw_os_error() == Some(nix::libc::ESRCH) => {}
                done => done?,
            }
        }
    }
    Err(CgroupError::failed(
        "move all processes into",
        path,
        nix::errno::Errno::EAGAIN,
    ))
}

/// The parent of each process, and of each of those above it.
fn parents(of: &[u32]) -> BTreeMap<u32, u32> {
    let mut parents = BTreeMap::new();
    for pid in of {
        let mut pid = *pid;
        while !parents.contains_key(&pid)
            && let Some(parent) = parent(pid)
        {
            parents.insert(pid, parent);
            pid = parent;
        }
    }
    parents
}

fn parent(pid: u32) -> Option<u32> {
    parent_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fourth field of `/proc/PID/stat`; the second, a name, may have blanks and brackets in it.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}

/// The processes, and whoever has one of them above it.
fn descendants(of: &[u32], parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut all: BTreeSet<u32> = of.iter().copied().collect();
    loop {
        let before = all.len();
        let more = parents.iter().filter(|(_, parent)| all.contains(parent));
        let more: Vec<u32> = more.map(|(pid, _)| *pid).collect();
        all.extend(more);
        if all.len() == before {
            return all;
        }
    }
}

/// How often what was forked meanwhile is looked for.
const TURNS: u32 = 64;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use lab::{Cgroup, Need, require};
    use steer_core::driver::{Change, Driver};
    use steer_core::instance::Instance;
    use steer_core::object::Object;
    use steer_core::plan::Netns;
    use steer_core::symbol::CgroupRef;

    use super::*;
    use crate::cgroup::CgroupDriver;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("7 (a) b (c)) S 5 7 7 0"), Some(5));
        assert_eq!(parent_of("1 (init) S 0 1 1 0"), None);
        assert_eq!(parent_of("7 (cut"), None);
    }

    #[test]
    fn whoever_has_one_of_them_above_it_belongs_to_them() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (9, 1)]);
        assert_eq!(descendants(&[3], &parents), BTreeSet::from([3, 4]));
        assert_eq!(descendants(&[2, 9], &parents), BTreeSet::from([2, 3, 4, 9]));
    }

    #[test]
    fn processes_and_what_they_start_are_taken_in_and_given_back() {
        if !require(&[Need::Root, Need::Cgroup2]) {
            return;
        }
        let slice = Cgroup::new("members");
        let tree = CgroupTree::open().unwrap();
        let above = tree.cgroup(slice.name()).unwrap();
        // A shell that has started another program, and a stranger beside it.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & echo $!; read _; kill $!"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
        let mut line = String::new();
        let told = shell.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(told), &mut line).unwrap();
        let child: u32 = line.trim().parse().unwrap();
        for pid in [shell.id(), child, stranger.id()] {
            above.join(pid).unwrap();
        }
        let instance = Instance::new("adopt").unwrap();
        let path = CgroupRef::Path(format!("{}/steer-adopt", slice.name()));
        let objects = |pid| {
            vec![
                Object::Cgroup(path.clone()),
                Object::Members {
                    cgroup: path.clone(),
                    pids: vec![pid],
                },
            ]
        };
        let mut driver = CgroupDriver::new();
        let mut set = |from: &[Object], to: &[Object]| {
            driver.set(&Change {
                instance: &instance,
                netns: &Netns::Here,
                from,
                to,
            })
        };
        // One that is not there is an error, and nothing is left.
        let error = set(&[], &objects(u32::MAX / 2)).unwrap_err();
        assert!(error.to_string().contains("is not in cgroup"), "{error}");
        assert!(tree.cgroup(&path.to_string()).is_err());
        let objects = objects(shell.id());
        set(&[], &objects).unwrap();
        let sorted = |mut pids: Vec<u32>| {
            pids.sort_unstable();
            pids
        };
        let inside = tree.cgroup(&path.to_string()).unwrap().processes().unwrap();
        assert_eq!(sorted(inside), sorted(vec![shell.id(), child]));
        assert_eq!(above.processes().unwrap(), [stranger.id()]);
        // What stands is left as it is.
        set(&objects, &objects).unwrap();
        set(&objects, &[]).unwrap();
        let all = vec![shell.id(), child, stranger.id()];
        assert_eq!(sorted(above.processes().unwrap()), sorted(all));
        drop(shell.stdin.take());
        shell.wait().unwrap();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        above.wait_empty(None).unwrap();
    }
}
