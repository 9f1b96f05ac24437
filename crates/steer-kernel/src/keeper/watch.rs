//! Cgroups that rules name, watched: one that is made again under its name has another id.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use steer_core::object::{Hooks, Object};
use steer_core::plan::Planned;
use steer_core::ruleset::{Rule, Test};
use steer_core::symbol::CgroupRef;

use crate::cgroup::{CgroupTree, is_unit};

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

/// The objects without the rules and hooks for cgroups that do not exist: nobody is in those, and
/// the kernel takes no rule for them.
pub(super) fn present(objects: &[Planned]) -> Vec<Planned> {
    without(objects, |_| true)
}

/// The objects without the rules and hooks for units that do not run; any other cgroup has to be
/// there from the start.
pub(super) fn awaited(objects: &[Planned]) -> Vec<Planned> {
    without(objects, |path| {
        is_unit(path.rsplit('/').next().unwrap_or_default())
    })
}

/// The same in the place of a job that is in force: a cgroup that this one names already may have
/// gone since.
pub(super) fn awaited_after(objects: &[Planned], before: &[Planned]) -> Vec<Planned> {
    let known = named(before);
    without(objects, |path| {
        is_unit(path.rsplit('/').next().unwrap_or_default()) || known.contains(path)
    })
}

fn without(objects: &[Planned], which: impl Fn(&str) -> bool) -> Vec<Planned> {
    let mut paths = named(objects);
    paths.retain(|path| which(path));
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
    for planned in &mut objects {
        match &mut planned.object {
            Object::Nft(ruleset) | Object::Iptables(ruleset, _) => {
                for chain in &mut ruleset.chains {
                    let rules = &mut chain.rules;
                    rules.retain(|rule| !cgroups(rule).any(|path| gone.contains(path)));
                }
            }
            Object::Hooks(hooks) => take_out(hooks, &gone),
            _ => {}
        }
    }
    objects
}

/// Takes cgroups out of hooks.
///
/// The hooks themselves stay, also at no cgroup: the engine has what belongs to them, and they are
/// where it is known when a cgroup comes back.
fn take_out(hooks: &mut Hooks, gone: &BTreeSet<String>) {
    let there = |cgroup: &CgroupRef| !path(cgroup).is_some_and(|path| gone.contains(path));
    let asked = !hooks.within.is_empty();
    hooks.within.retain(there);
    hooks.cgroups.retain(there);
    if asked && hooks.within.is_empty() {
        // To ask for none would mean everybody.
        hooks.cgroups.clear();
    }
    hooks
        .scope
        .except
        .cgroup
        .retain(|path| !gone.contains(path));
}

/// The cgroups that rules and hooks name, without those that are made with them.
fn named(objects: &[Planned]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for planned in objects {
        match &planned.object {
            Object::Nft(ruleset) | Object::Iptables(ruleset, _) => {
                let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
                named.extend(rules.flat_map(cgroups).map(str::to_owned));
            }
            Object::Hooks(hooks) => {
                let at = hooks.cgroups.iter().chain(&hooks.within);
                let except = hooks.scope.except.cgroup.iter();
                named.extend(at.filter_map(path).map(str::to_owned));
                named.extend(except.cloned());
            }
            _ => {}
        }
    }
    // The root is always there.
    named.remove("");
    for planned in objects {
        if let Object::Cgroup(CgroupRef::Path(path)) = &planned.object {
            named.remove(path);
        }
    }
    named
}

fn cgroups(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.tests.iter().filter_map(|test| match test {
        Test::Cgroup(cgroup) => path(cgroup),
        _ => None,
    })
}

fn path(cgroup: &CgroupRef) -> Option<&str> {
    match cgroup {
        CgroupRef::Path(path) => Some(path),
        CgroupRef::Command => None,
    }
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
    use steer_core::intent::{OnFailure, Scope, Traffic};
    use steer_core::mark::Mark;
    use steer_core::object::Reach;
    use steer_core::plan::{Life, Netns};
    use steer_core::ruleset::{Chain, Role, Ruleset, Verdict};

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

    fn hooks(cgroups: &[&str], within: &[&str], except: &[&str]) -> Planned {
        let paths = |all: &[&str]| {
            let path = |path: &&str| CgroupRef::Path((*path).to_owned());
            all.iter().map(path).collect()
        };
        let mut scope = Scope::default();
        scope.except.cgroup = except.iter().map(|path| (*path).to_owned()).collect();
        Planned {
            netns: Netns::Here,
            life: Life::Guard,
            object: Object::Hooks(Hooks {
                cgroups: paths(cgroups),
                scope,
                within: paths(within),
                traffic: Traffic::default(),
                names: BTreeMap::new(),
                made_up: Vec::new(),
                reach: Reach::All,
                families: Family::ALL.to_vec(),
                entrances: Vec::new(),
                bypass: Mark::BYPASS,
                on_failure: OnFailure::Closed,
                takes: true,
            }),
        }
    }

    #[test]
    fn all_cgroups_of_hooks_but_the_root_are_watched() {
        let named = named(&[hooks(&["", "a"], &["b"], &["c"])]);
        assert_eq!(named, ["a", "b", "c"].map(str::to_owned).into());
    }

    #[test]
    fn hooks_lose_cgroups_that_are_gone_and_never_mean_more_for_it() {
        let gone = ["a", "b"].map(str::to_owned).into();
        let left = |cgroups: &[&str], within: &[&str], except: &[&str]| {
            let Object::Hooks(mut left) = hooks(cgroups, within, except).object else {
                panic!("no hooks");
            };
            take_out(&mut left, &gone);
            Object::Hooks(left)
        };
        let same = |planned: Planned| planned.object;
        assert_eq!(
            left(&["a", "c"], &[], &["b", "d"]),
            same(hooks(&["c"], &[], &["d"]))
        );
        assert_eq!(left(&["a"], &[], &[]), same(hooks(&[], &[], &[])));
        assert_eq!(
            left(&[""], &["a", "c"], &[]),
            same(hooks(&[""], &["c"], &[]))
        );
        assert_eq!(left(&[""], &["a", "b"], &[]), same(hooks(&[], &[], &[])));
    }

    #[test]
    fn a_unit_may_come_later_and_any_other_cgroup_has_to_be_there() {
        if !require(&[Need::Cgroup2]) {
            return;
        }
        let objects = [rules(&["no-such/steer-test.service", "no-such-steer-test"])];
        assert_eq!(awaited(&objects), [rules(&["no-such-steer-test"])]);
        assert_eq!(present(&objects), [rules(&[])]);
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
