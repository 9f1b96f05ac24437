//! Cgroups that rules name, watched: one that is made again under its name has another id.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use steer_core::object::Object;
use steer_core::plan::Planned;
use steer_core::ruleset::{Rule, Ruleset, Test};
use steer_core::symbol::CgroupRef;

use crate::cgroup::CgroupTree;

/// The cgroups that a job's rules name and does not make itself.
#[derive(Debug)]
pub(super) struct Watch {
    tree: CgroupTree,
    /// Tells when a directory on the way to one of them changes.
    notes: Option<Inotify>,
    /// The ids as they were seen last; none where the cgroup does not exist.
    seen: BTreeMap<String, Option<u64>>,
    /// Whether a change has been seen that was not acted on yet.
    stale: bool,
}

impl Watch {
    /// A watch over what the objects name; `None` where they name nothing, or nothing can be seen.
    pub(super) fn over(objects: &[Planned]) -> Option<Self> {
        let paths = named(objects);
        if paths.is_empty() {
            return None;
        }
        let mut watch = Self {
            tree: CgroupTree::open().ok()?,
            notes: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok(),
            seen: paths.into_iter().map(|path| (path, None)).collect(),
            stale: false,
        };
        watch.look();
        watch.stale = false;
        Some(watch)
    }

    /// Waits for the socket; `false` when a cgroup has come, gone or been made again instead.
    pub(super) fn wait(&mut self, socket: BorrowedFd<'_>) -> bool {
        loop {
            self.look();
            if self.stale {
                // The engine comes first, or a change that cannot be made would shut it out.
                return self.poll(socket, PollTimeout::ZERO);
            }
            let timeout = match self.notes {
                Some(_) => PollTimeout::NONE,
                None => PERIOD.into(),
            };
            if self.poll(socket, timeout) {
                return true;
            }
        }
    }

    /// Takes note of whether the last change was acted on; it comes again where it was not.
    pub(super) fn done(&mut self, socket: BorrowedFd<'_>, success: bool) {
        self.stale = !success;
        if self.stale {
            // Not at once: whatever was in the way may need a moment to go.
            self.poll(socket, PERIOD.into());
        }
    }

    /// Whether the socket is readable, or has ended.
    fn poll(&self, socket: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
        let mut fds = vec![PollFd::new(socket, PollFlags::POLLIN)];
        fds.extend(
            self.notes
                .as_ref()
                .map(|notes| PollFd::new(notes.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, timeout) {
            Ok(_) => fds[0].revents().is_some_and(|events| !events.is_empty()),
            Err(Errno::EINTR) => false,
            // The reading of the socket finds out what is wrong.
            Err(_) => true,
        }
    }

    /// Compares the ids with those that were seen last.
    fn look(&mut self) {
        let Self {
            tree,
            notes,
            seen,
            stale,
        } = self;
        // What has been told is what is looked at below.
        if let Some(notes) = notes {
            while notes.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
        for (path, id) in seen {
            if let Some(watcher) = notes
                && arm(tree, watcher, path).is_err()
            {
                // A limit of the kernel; looking from time to time has to do.
                *notes = None;
            }
            let found = tree.cgroup(path).and_then(|cgroup| cgroup.id()).ok();
            *stale |= found != *id;
            *id = found;
        }
    }
}

/// Watches every directory above a cgroup that exists; each before what is in it is looked at.
fn arm(tree: &CgroupTree, notes: &Inotify, path: &str) -> Result<(), Errno> {
    let ends = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at));
    for end in ends {
        let Ok(above) = tree.cgroup(&path[..end]) else {
            return Ok(());
        };
        let place = format!("/proc/self/fd/{}", above.as_fd().as_raw_fd());
        let wanted = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        match notes.add_watch(place.as_str(), wanted) {
            Ok(_) => {}
            // Gone again: whatever is above it tells when it comes back.
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The objects without the rules for cgroups that do not exist: nobody is in those, and the kernel
/// takes no rule for them.
pub(super) fn present(objects: &[Planned]) -> Vec<Planned> {
    let paths = named(objects);
    if paths.is_empty() {
        return objects.to_vec();
    }
    let Ok(tree) = CgroupTree::open() else {
        return objects.to_vec();
    };
    let gone: BTreeSet<String> = paths
        .into_iter()
        .filter(|path| tree.cgroup(path).is_err_and(|error| error.is_gone()))
        .collect();
    let mut objects = objects.to_vec();
    for ruleset in objects.iter_mut().filter_map(|p| ruleset(&mut p.object)) {
        for chain in &mut ruleset.chains {
            chain
                .rules
                .retain(|rule| !cgroups(rule).any(|path| gone.contains(path)));
        }
    }
    objects
}

/// The cgroups that rules name, without those that are made with them.
fn named(objects: &[Planned]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for planned in objects {
        if let Object::Nft(ruleset) | Object::Iptables(ruleset, _) = &planned.object {
            let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
            named.extend(rules.flat_map(cgroups).map(str::to_owned));
        }
    }
    for planned in objects {
        if let Object::Cgroup(CgroupRef::Path(path)) = &planned.object {
            named.remove(path);
        }
    }
    named
}

fn ruleset(object: &mut Object) -> Option<&mut Ruleset> {
    match object {
        Object::Nft(ruleset) | Object::Iptables(ruleset, _) => Some(ruleset),
        _ => None,
    }
}

fn cgroups(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.tests.iter().filter_map(|test| match test {
        Test::Cgroup(CgroupRef::Path(path)) => Some(path.as_str()),
        _ => None,
    })
}

/// How often ids are compared where nothing tells of a change, in milliseconds.
const PERIOD: u16 = 250;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use lab::{Cgroup, Need, require};
    use steer_core::address::Family;
    use steer_core::plan::{Life, Netns};
    use steer_core::ruleset::{Chain, Role, Verdict};

    use super::*;

    fn rules(cgroups: &[&str]) -> Planned {
        let rule = |path: &&str| {
            let test = Test::Cgroup(CgroupRef::Path((*path).to_owned()));
            Rule::new([test], Verdict::Return, "a test asks")
        };
        let chain = Chain {
            name: "asked".to_owned(),
            base: None,
            rules: cgroups.iter().map(rule).collect(),
        };
        Planned {
            netns: Netns::Here,
            life: Life::Steer,
            object: Object::Nft(Ruleset {
                role: Role::Steer,
                families: Family::ALL.to_vec(),
                chains: vec![chain],
            }),
        }
    }

    #[test]
    fn only_cgroups_that_the_job_does_not_make_are_watched() {
        let own = Planned {
            life: Life::Support,
            object: Object::Cgroup(CgroupRef::Path("own".to_owned())),
            ..rules(&[])
        };
        let named = named(&[own, rules(&["own", "app.slice"])]);
        assert_eq!(named, BTreeSet::from(["app.slice".to_owned()]));
    }

    #[test]
    fn a_cgroup_that_comes_goes_or_is_made_again_is_told_with_and_without_inotify() {
        if !require(&[Need::Root, Need::Cgroup2]) {
            return;
        }
        for with in [true, false] {
            let slice = Cgroup::new("watch");
            let objects = [rules(&[&format!("{}/a/b", slice.name())])];
            let mut watch = Watch::over(&objects).unwrap();
            assert!(watch.notes.is_some());
            if !with {
                watch.notes = None;
            }
            let (idle, mut engine) = UnixStream::pair().unwrap();
            let path = slice.path().join("a/b");
            let remove = || {
                fs::remove_dir(&path).unwrap();
                fs::remove_dir(path.parent().unwrap()).unwrap();
            };
            assert_eq!(present(&objects), [rules(&[])]);
            let steps: [&dyn Fn(); 3] = [
                &|| fs::create_dir_all(&path).unwrap(),
                &|| {
                    remove();
                    fs::create_dir_all(&path).unwrap();
                },
                &remove,
            ];
            for step in steps {
                std::thread::scope(|scope| {
                    let waiting = scope.spawn(|| watch.wait(idle.as_fd()));
                    step();
                    // Told at the latest by the last change: the first may be all it has seen.
                    assert!(!waiting.join().unwrap());
                });
                watch.look();
                watch.done(idle.as_fd(), true);
            }
            engine.write_all(b"x").unwrap();
            assert!(watch.wait(idle.as_fd()));
            // What could not be done is told again, and does not come before the engine.
            watch.done(idle.as_fd(), false);
            assert!(watch.wait(idle.as_fd()));
        }
    }
}
