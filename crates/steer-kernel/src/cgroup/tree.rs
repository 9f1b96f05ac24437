//! The unified cgroup hierarchy, held by a descriptor of its root.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Cgroup, CgroupError};
use crate::sys;

/// The unified cgroup hierarchy.
///
/// All paths are below its root and have no slash at either end; the root itself is the empty
/// path. It is found wherever it is mounted; where no mount is visible (`ip netns exec` hides
/// `/sys/fs/cgroup`), a mount of our own without a place in the file tree stands in.
#[derive(Debug)]
pub struct CgroupTree {
    root: OwnedFd,
}

/// What becomes of the processes of a cgroup that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inhabitants {
    /// They go on in the parent cgroup.
    ToParent,
    /// They keep the cgroup: it is not removed while it has any.
    Stay,
}

impl CgroupTree {
    /// Opens the hierarchy of the calling process's cgroup namespace.
    pub fn open() -> Result<Self, CgroupError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for mount in mount_points(&mounts) {
            let Ok(root) = open(mount.as_str(), DIRECTORY, Mode::empty()) else {
                continue;
            };
            // Another file system may be mounted over it.
            if fstatfs(&root).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
                return Ok(Self { root });
            }
        }
        sys::detached_cgroup2()
            .and_then(|mount| openat(&mount, ".", DIRECTORY, Mode::empty()))
            .map(|root| Self { root })
            .map_err(|errno| CgroupError::NoHierarchy {
                source: errno.into(),
            })
    }

    /// The path of the calling process's cgroup.
    pub fn own() -> Result<String, CgroupError> {
        let text = fs::read_to_string("/proc/self/cgroup")
            .map_err(|source| CgroupError::NoHierarchy { source })?;
        own_path(&text).ok_or_else(|| CgroupError::NoHierarchy {
            source: io::Error::new(io::ErrorKind::NotFound, "no line 0:: in /proc/self/cgroup"),
        })
    }

    /// Opens a cgroup that exists.
    pub fn cgroup(&self, path: &str) -> Result<Cgroup, CgroupError> {
        let place = if path.is_empty() { "." } else { path };
        if !is_plain(path) {
            return Err(CgroupError::failed("open", path, Errno::EINVAL));
        }
        openat(&self.root, place, DIRECTORY, Mode::empty())
            .map(|dir| Cgroup::new(path, dir))
            .map_err(|errno| CgroupError::failed("open", path, errno))
    }

    /// The path of the cgroup of an id ([`Cgroup::id`]); `None` where it is gone or not below the root.
    ///
    /// No search: the kernel finds it by its number. That needs CAP_DAC_READ_SEARCH.
    pub fn path_of(&self, id: u64) -> io::Result<Option<String>> {
        let dir = match sys::open_by_number(self.root.as_fd(), id) {
            Ok(dir) => dir,
            Err(Errno::ESTALE) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let place = |fd: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let (root, dir) = (place(&self.root)?, place(&dir)?);
        let path = dir.strip_prefix(root).ok().and_then(|path| path.to_str());
        // What is hidden by another mount, or removed meanwhile, has another path or none.
        let is_it = |path: &&str| {
            self.cgroup(path)
                .and_then(|c| c.id())
                .is_ok_and(|i| i == id)
        };
        Ok(path.filter(is_it).map(str::to_owned))
    }

    /// Makes a cgroup below one that exists; one that is there already is taken.
    pub fn create(&self, path: &str) -> Result<Cgroup, CgroupError> {
        if path.is_empty() || !is_plain(path) {
            return Err(CgroupError::failed("make", path, Errno::EINVAL));
        }
        match mkdirat(&self.root, path, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => self.cgroup(path),
            Err(errno) => Err(CgroupError::failed("make", path, errno)),
        }
    }

    /// Removes a cgroup and those below it; gone already is success.
    pub fn remove(&self, path: &str, inhabitants: Inhabitants) -> Result<(), CgroupError> {
        if path.is_empty() || !is_plain(path) {
            return Err(CgroupError::failed("remove", path, Errno::EINVAL));
        }
        let cgroup = match self.cgroup(path) {
            Ok(cgroup) => cgroup,
            Err(error) if error.is_gone() => return Ok(()),
            Err(error) => return Err(error),
        };
        for child in cgroup.children()? {
            self.remove(&format!("{path}/{child}"), inhabitants)?;
        }
        let parent = self.cgroup(path.rsplit_once('/').map_or("", |(parent, _)| parent))?;
        // A process that forks while it is moved leaves a child behind, which the next turn takes.
        for _ in 0..TURNS {
            match unlinkat(&self.root, path, UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                Err(Errno::EBUSY) if inhabitants == Inhabitants::ToParent => {
                    cgroup.move_all(&parent)?;
                }
                Err(errno) => return Err(CgroupError::failed("remove", path, errno)),
            }
        }
        Err(CgroupError::failed("remove", path, Errno::EBUSY))
    }

    /// The paths of all cgroups whose own name starts with `prefix`.
    pub fn find(&self, prefix: &str) -> Result<Vec<String>, CgroupError> {
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(path) = waiting.pop() {
            let children = match self.cgroup(&path).and_then(|cgroup| cgroup.children()) {
                Ok(children) => children,
                // Cgroups come and go while we look.
                Err(error) if error.is_gone() => continue,
                Err(error) => return Err(error),
            };
            for child in children {
                let below = match path.as_str() {
                    "" => child.clone(),
                    _ => format!("{path}/{child}"),
                };
                if child.starts_with(prefix) {
                    found.push(below.clone());
                }
                waiting.push(below);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// A second handle of the same hierarchy.
    pub fn try_clone(&self) -> io::Result<Self> {
        let root = self.root.as_fd().try_clone_to_owned()?;
        Ok(Self { root })
    }
}

/// Where the whole hierarchy is mounted, last mount first: it hides those below it.
fn mount_points(mountinfo: &str) -> Vec<String> {
    let mut points: Vec<String> = mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            (root == "/" && kind.starts_with("cgroup2 ")).then(|| unescape(point))
        })
        .collect();
    points.reverse();
    points
}

/// Mount points have white space and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The path of a process's cgroup, of its `/proc/PID/cgroup`.
pub(crate) fn own_path(proc_cgroup: &str) -> Option<String> {
    let line = proc_cgroup.lines().find_map(|l| l.strip_prefix("0::/"))?;
    Some(line.trim_end_matches(" (deleted)").to_owned())
}

/// Whether each step leads down.
fn is_plain(path: &str) -> bool {
    path.is_empty() || path.split('/').all(|step| !matches!(step, "" | "." | ".."))
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_RDONLY)
    .union(OFlag::O_CLOEXEC);
const TURNS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_on_hybrid_and_on_unified_hosts() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            38 31 0:35 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_points(hybrid), ["/sys/fs/cgroup/unified"]);
        let unified = "29 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount_points(unified), ["/sys/fs/cgroup"]);
        let part = "40 31 0:35 /app.slice /mnt/a\\040b rw - cgroup2 none rw\n";
        assert!(mount_points(part).is_empty());
        assert_eq!(unescape("/mnt/a\\040b"), "/mnt/a b");
    }

    #[test]
    fn a_cgroup_is_found_by_its_number() {
        lab::require!(Root);
        let cgroup = lab::Cgroup::new("by-number");
        let tree = CgroupTree::open().unwrap();
        let id = tree.cgroup(cgroup.name()).unwrap().id().unwrap();
        let found = tree.path_of(id).unwrap();
        assert_eq!(found.as_deref(), Some(cgroup.name()));
        let root = tree.cgroup("").unwrap().id().unwrap();
        assert_eq!(tree.path_of(root).unwrap().as_deref(), Some(""));
        drop(cgroup);
        assert_eq!(tree.path_of(id).unwrap(), None);
    }

    #[test]
    fn the_own_cgroup_is_the_line_without_a_controller() {
        assert_eq!(own_path("2:cpu:/x\n0::/a/b\n").as_deref(), Some("a/b"));
        assert_eq!(own_path("0::/\n").as_deref(), Some(""));
        assert_eq!(own_path("2:cpu:/\n"), None);
    }

    #[test]
    fn a_path_that_leads_up_is_refused() {
        assert!(is_plain("a/b") && is_plain(""));
        for path in ["..", "a/../b", "/a", "a/", "a//b", "."] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
