//! One change of what is loaded: all of it, or nothing.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;

use steer_core::intent::OnFailure;
use steer_core::netns;
use steer_core::object::Hooks;
use steer_core::plan::Netns;
use steer_core::symbol::CgroupRef;
use steer_kernel::cgroup::{Cgroup, CgroupTree};

use super::loaded::Loaded;
use super::{Ours, places};
use crate::abi::Place;
use crate::attach::{Attached, Wanted, stands, topmost};
use crate::error::EbpfError;
use crate::filter::{Filter, Known, NOWHERE};
use crate::generation::Swap;
use crate::object::{ANSWERS, AT_CGROUPS, Hook, INBOUND, LOOKS_UP, OUTBOUND};
use crate::sys;

/// What was done, to be undone where something later fails.
#[derive(Debug, Default)]
struct Done {
    swaps: Vec<Swap>,
    /// The place that a namespace had.
    place: Option<(u64, Option<Place>)>,
    /// What was attached.
    attached: Vec<Attached>,
}

/// Changes what is in force to what shall be.
///
/// Maps are filled before anything is attached, and what is wanted is attached before anything is
/// detached. What holds goes on where this fails.
pub(super) fn apply(
    loaded: &mut Loaded,
    netns: &Netns,
    from: Ours<'_>,
    to: Ours<'_>,
) -> Result<(), EbpfError> {
    let tree = CgroupTree::open()?;
    if loaded.adopted && loaded.outbound.is_none() {
        find_attached(loaded, &tree, from.hooks)?;
    }
    let mut done = Done::default();
    match make(loaded, &tree, netns, from, to, &mut done) {
        Ok(made) => settle(loaded, &tree, done, made),
        Err(error) => {
            undo(loaded, &tree, done);
            Err(error)
        }
    }
}

/// What is in force once a change is made.
#[derive(Debug)]
struct Made {
    outbound: Option<Filter<crate::abi::Config>>,
    inbound: Option<Filter<crate::abi::Inbound>>,
    place: Option<(u64, Place)>,
    /// For each of what was attached before, whether it goes on.
    kept: Vec<bool>,
}

fn make(
    loaded: &Loaded,
    tree: &CgroupTree,
    netns: &Netns,
    from: Ours<'_>,
    to: Ours<'_>,
    done: &mut Done,
) -> Result<Made, EbpfError> {
    let Loaded { maps, programs, .. } = loaded;
    let mut made = Made {
        outbound: None,
        inbound: None,
        place: None,
        kept: vec![false; loaded.attached.len()],
    };
    if let Some(hooks) = to.hooks {
        let cookie = match loaded.place {
            // The path may lead elsewhere by now.
            Some((cookie, _)) => cookie,
            None => places::cookie(netns)?,
        };
        let filter = Filter::outbound(hooks, &known(hooks, tree, cookie, loaded.is_fresh())?)?;
        let place = places::place(hooks)?;
        if loaded.place != Some((cookie, place)) {
            let before = loaded.place.map(|(_, place)| place);
            places::put(maps, cookie, Some(place))?;
            done.place = Some((cookie, before));
        }
        if loaded.outbound.as_ref() != Some(&filter) {
            done.swaps.push(Swap::to(maps, OUTBOUND, &filter)?);
        }
        made.outbound = Some(filter);
        made.place = Some((cookie, place));
    }
    if let Some(lookup) = to.lookup {
        let filter = Filter::inbound(lookup)?;
        if loaded.inbound.as_ref() != Some(&filter) {
            done.swaps.push(Swap::to(maps, INBOUND, &filter)?);
        }
        made.inbound = Some(filter);
    }
    let cgroups = match to.hooks {
        Some(hooks) => open(hooks, tree, from.hooks)?,
        None => Vec::new(),
    };
    for (cgroup, hook, stays) in wanted(to.hooks, &cgroups) {
        let wanted = Wanted {
            hook,
            cgroup,
            id: cgroup.id()?,
            stays,
        };
        let standing = loaded.attached.iter();
        match standing.into_iter().position(|a| wanted.is(a, programs)) {
            Some(index) => made.kept[index] = true,
            None => done.attached.push(wanted.attach(programs)?),
        }
    }
    if to.lookup.is_some() {
        match loaded.attached.iter().position(|a| a.hook == LOOKS_UP) {
            Some(index) => made.kept[index] = true,
            None => done.attached.push(look_up(loaded, netns)?),
        }
    }
    Ok(made)
}

/// Keeps what was made, and lets go of what is not wanted any more.
fn settle(loaded: &mut Loaded, tree: &CgroupTree, done: Done, made: Made) -> Result<(), EbpfError> {
    let Done {
        swaps,
        place: _,
        attached,
    } = done;
    let Made {
        outbound,
        inbound,
        place,
        kept,
    } = made;
    for swap in swaps {
        swap.settle(&loaded.maps);
    }
    loaded.outbound = outbound;
    loaded.inbound = inbound;
    loaded.place = place;
    let is_in_force = loaded.outbound.is_some() || loaded.inbound.is_some();
    let mut first = None;
    let before = std::mem::take(&mut loaded.attached);
    for (standing, kept) in before.into_iter().zip(kept) {
        if kept {
            loaded.attached.push(standing);
        } else if let Err(error) = standing.detach(tree, &loaded.programs) {
            loaded.attached.push(standing);
            first.get_or_insert(error);
        }
    }
    loaded.attached.extend(attached);
    // What could not be detached is on the list still, for the next change.
    match first {
        // Whoever is told of a failure takes it that what was before holds.
        Some(error) if is_in_force => {
            let error = &error as &dyn Error;
            tracing::warn!(error, "hooks stay where they are not wanted any more");
            Ok(())
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Brings back what was in force; what cannot be brought back is told.
fn undo(loaded: &Loaded, tree: &CgroupTree, done: Done) {
    let Done {
        swaps,
        place,
        attached,
    } = done;
    let Loaded { maps, programs, .. } = loaded;
    let detached = attached.into_iter().rev().map(|a| a.detach(tree, programs));
    let mut results: Vec<_> = detached.collect();
    results.extend(swaps.into_iter().rev().map(|swap| swap.undo(maps)));
    results.extend(place.map(|(netns, before)| places::put(maps, netns, before)));
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let error = error as &dyn Error;
        tracing::warn!(error, "what was done before a failure stays");
    }
}

/// Ids that only this host knows.
fn known(hooks: &Hooks, tree: &CgroupTree, netns: u64, first: bool) -> Result<Known, EbpfError> {
    let mut within = Vec::new();
    for path in paths(&hooks.within)? {
        within.push(match tree.cgroup(path).and_then(|cgroup| cgroup.id()) {
            Ok(id) => id,
            Err(error) if error.is_gone() && !first => NOWHERE,
            Err(error) => return Err(error.into()),
        });
    }
    let mut except = Vec::new();
    for path in &hooks.scope.except.cgroup {
        match tree.cgroup(path).and_then(|cgroup| cgroup.id()) {
            Ok(id) => except.push(id),
            // Nobody is in it; once it is made, the change comes again.
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Known {
        netns,
        within,
        except,
    })
}

/// The cgroups at which hooks shall be. One that was hooked and is gone has lost its hooks with it.
fn open(hooks: &Hooks, tree: &CgroupTree, from: Option<&Hooks>) -> Result<Vec<Cgroup>, EbpfError> {
    let before = from.map_or(&[][..], |hooks| &hooks.cgroups);
    let before = paths(before)?;
    let mut all = Vec::new();
    for path in topmost(paths(&hooks.cgroups)?) {
        match tree.cgroup(path) {
            Ok(cgroup) => all.push(cgroup),
            Err(error) if error.is_gone() && before.contains(&path) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if hooks.entrances.iter().any(|e| e.external.is_some()) {
        all.push(tree.cgroup("")?);
    }
    Ok(all)
}

/// What shall be attached where; the root that answers other proxies is the last of the cgroups.
fn wanted<'a>(hooks: Option<&Hooks>, cgroups: &'a [Cgroup]) -> Vec<(&'a Cgroup, Hook, OnFailure)> {
    let Some(hooks) = hooks else {
        return Vec::new();
    };
    let external = hooks.entrances.iter().any(|e| e.external.is_some());
    let (root, cgroups) = match cgroups.split_last() {
        Some((root, rest)) if external => (Some(root), rest),
        _ => (None, cgroups),
    };
    let answers = root.map(|root| (root, ANSWERS, OnFailure::Open));
    let each = cgroups.iter().flat_map(|cgroup| {
        let at = AT_CGROUPS.into_iter();
        at.map(move |hook| (cgroup, hook, hooks.on_failure))
    });
    answers.into_iter().chain(each).collect()
}

fn look_up(loaded: &Loaded, netns: &Netns) -> Result<Attached, EbpfError> {
    let program = crate::attach::program(LOOKS_UP, &loaded.programs)?;
    let file = match netns::open(netns) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => File::open("/proc/thread-self/ns/net"),
        Err(error) => Err(error),
    };
    let file = file.map_err(|source| places::unreachable(netns, source))?;
    let link = sys::link(file.as_fd(), program, LOOKS_UP.kind);
    let link = link.map_err(|source| EbpfError::Attach {
        deed: "attach",
        program: LOOKS_UP.program,
        place: "the network namespace".to_owned(),
        source,
    })?;
    Ok(Attached {
        hook: LOOKS_UP,
        path: String::new(),
        id: 0,
        link: Some(link),
    })
}

/// Takes note of what a predecessor attached that no link tells of.
fn find_attached(
    loaded: &mut Loaded,
    tree: &CgroupTree,
    from: Option<&Hooks>,
) -> Result<(), EbpfError> {
    let Some(hooks) = from.filter(|hooks| hooks.on_failure == OnFailure::Closed) else {
        return Ok(());
    };
    for path in topmost(paths(&hooks.cgroups)?) {
        let cgroup = match tree.cgroup(path) {
            Err(error) if error.is_gone() => continue,
            other => other?,
        };
        let id = cgroup.id()?;
        for hook in AT_CGROUPS {
            let known = |a: &Attached| a.hook == hook && a.id == id;
            if !loaded.attached.iter().any(known) && stands(hook, &cgroup, &loaded.programs)? {
                loaded.attached.push(Attached {
                    hook,
                    path: path.to_owned(),
                    id,
                    link: None,
                });
            }
        }
    }
    Ok(())
}

fn paths(cgroups: &[CgroupRef]) -> Result<Vec<&str>, EbpfError> {
    let each = cgroups.iter().map(|cgroup| match cgroup {
        CgroupRef::Path(path) => Ok(path.as_str()),
        CgroupRef::Command => Err(EbpfError::Misplaced {
            what: format!("hooks on cgroup {cgroup}"),
        }),
    });
    each.collect()
}
