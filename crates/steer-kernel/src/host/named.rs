//! Units and processes that an intent names, and the cgroups that they are in.

use std::collections::BTreeMap;
use std::fs;

use steer_core::instance::Instance;
use steer_core::intent::Scope;

use crate::cgroup::{CgroupTree, command_cgroup, is_unit, own_path, place};

/// The paths of units: where they run, or where they will.
///
/// A name that is a cgroup at the top of the hierarchy means that one.
pub(super) fn units(scope: &Scope) -> BTreeMap<String, String> {
    let names = scope.of.cgroup.iter().chain(&scope.except.cgroup);
    let names: Vec<&String> = names.filter(|name| is_unit(name)).collect();
    if names.is_empty() {
        return BTreeMap::new();
    }
    let tree = CgroupTree::open().ok();
    let path = |name: &str| match &tree {
        Some(tree) if tree.cgroup(name).is_ok() => None,
        Some(tree) => tree.unit(name).ok().flatten().or_else(|| Some(place(name))),
        None => Some(place(name)),
    };
    let found = names.into_iter();
    found
        .filter_map(|name| Some((name.clone(), path(name)?)))
        .collect()
}

/// The cgroups of processes; none of one that does not run.
///
/// One that this instance has moved, and left moved when it crashed, is told where it came from.
pub(super) fn processes(scope: &Scope, instance: &Instance) -> BTreeMap<u32, Option<String>> {
    let moved = command_cgroup(instance);
    let cgroup = |pid: u32| {
        let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = own_path(&told)?;
        Some(match path.rsplit_once('/') {
            Some((above, own)) if own == moved => above.to_owned(),
            None if path == moved => String::new(),
            _ => path,
        })
    };
    let pids = scope.of.pid.iter().chain(&scope.except.pid);
    pids.map(|pid| (*pid, cgroup(*pid))).collect()
}

#[cfg(test)]
mod tests {
    use lab::{Cgroup, Need, require};

    use super::*;

    #[test]
    fn a_unit_is_found_where_it_runs_and_else_has_its_usual_place() {
        if !require(&[Need::Root, Need::Cgroup2]) {
            return;
        }
        let slice = Cgroup::new("units");
        let unit = format!("{}.service", slice.name());
        fs::create_dir(slice.path().join(&unit)).unwrap();
        let mut scope = Scope::default();
        scope.of.cgroup = vec![unit.clone(), "no-such-steer.service".to_owned()];
        scope.except.cgroup = vec!["a/b.service".to_owned(), "plain".to_owned()];
        let found = units(&scope);
        assert_eq!(found[&unit], format!("{}/{unit}", slice.name()));
        let absent = &found["no-such-steer.service"];
        assert_eq!(absent, "system.slice/no-such-steer.service");
        assert_eq!(found.len(), 2);
        fs::remove_dir(slice.path().join(&unit)).unwrap();
    }

    #[test]
    fn a_process_is_told_by_its_cgroup_and_one_that_was_moved_by_its_former_one() {
        if !require(&[Need::Root, Need::Cgroup2]) {
            return;
        }
        let slice = Cgroup::new("processes");
        let instance = Instance::new("moved").unwrap();
        let below = slice.path().join("steer-moved");
        fs::create_dir(&below).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let mut scope = Scope::default();
        scope.of.pid = vec![child.id(), u32::MAX / 2];
        for place in [slice.path().to_owned(), below.clone()] {
            fs::write(place.join("cgroup.procs"), child.id().to_string()).unwrap();
            let found = processes(&scope, &instance);
            assert_eq!(found[&child.id()].as_deref(), Some(slice.name()));
            assert_eq!(found[&(u32::MAX / 2)], None);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let tree = CgroupTree::open().unwrap();
        tree.cgroup(&format!("{}/steer-moved", slice.name()))
            .unwrap()
            .wait_empty(None)
            .unwrap();
        fs::remove_dir(below).unwrap();
    }
}
