//! Cgroups of the real hierarchy, below one that the test makes for itself.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Cgroup as Own, DEADLINE, Lab, require};
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::object::{Domain, Object};
use steer_core::plan::Netns;
use steer_core::symbol::CgroupRef;
use steer_kernel::cgroup::{Cgroup, CgroupDriver, CgroupTree, Inhabitants};

/// A process that lives until its input ends.
struct Inhabitant(Child);

impl Inhabitant {
    fn of(cgroup: &Cgroup) -> Self {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let inhabitant = Self(child.unwrap());
        cgroup.join(inhabitant.0.id()).unwrap();
        inhabitant
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        // Ended already in most cases.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn below(own: &Own, name: &str) -> String {
    format!("{}/{name}", own.name())
}

#[test]
fn a_cgroup_has_the_id_and_level_that_the_kernels_rules_know() {
    require!(Root);
    let own = Own::new("ids");
    let tree = CgroupTree::open().unwrap();
    let cgroup = tree.create(&below(&own, "a")).unwrap();
    assert_eq!(cgroup.level(), 2);
    let inode =
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(own.path().join("a")).unwrap());
    assert_eq!(cgroup.id().unwrap(), inode);
    assert_eq!(tree.create(&below(&own, "a")).unwrap().id().unwrap(), inode);
    assert_eq!(tree.cgroup("").unwrap().level(), 0);
}

#[test]
fn the_hierarchy_is_reached_where_its_mount_is_hidden() {
    // The test runs itself again in a mount namespace of `ip netns exec`.
    if let Ok(path) = std::env::var(AGAIN) {
        return where_the_mount_is_hidden(&path);
    }
    require!(Root, Program("ip"));
    let own = Own::new("hidden");
    let tree = CgroupTree::open().unwrap();
    let cgroup = tree.create(&below(&own, "a")).unwrap();
    let output = Lab::new("hidden")
        .host("app")
        .program_by_ip(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_hierarchy_is_reached_where_its_mount_is_hidden",
            "--nocapture",
        ])
        .env(AGAIN, cgroup.path())
        .run();
    let text = output.expect_success();
    let expected = format!(
        "mounts: 0, id: {}, found: [{:?}]",
        cgroup.id().unwrap(),
        cgroup.path()
    );
    assert!(text.contains(&expected), "{text} is not {expected}");
}

/// What a process finds out without `/sys/fs/cgroup`.
fn where_the_mount_is_hidden(path: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let tree = CgroupTree::open().unwrap();
    let id = tree.cgroup(path).unwrap().id().unwrap();
    let mut found = tree.find("a").unwrap();
    found.retain(|one| *one == path);
    println!(
        "mounts: {}, id: {id}, found: {found:?}",
        mounts.matches(" - cgroup2 ").count()
    );
}

#[test]
fn a_process_that_writes_0_joins() {
    require!(Root);
    let own = Own::new("join");
    let tree = CgroupTree::open().unwrap();
    let cgroup = tree.create(&below(&own, "a")).unwrap();
    let procs = cgroup.procs().unwrap();
    let inhabitant = Command::new("sh")
        .args(["-c", "echo 0 >&1; exec cat /proc/self/cgroup >&2"])
        .stdout(procs)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(inhabitant.stderr).unwrap();
    assert!(text.contains(&format!("0::/{}\n", cgroup.path())), "{text}");
}

#[test]
fn the_last_process_to_leave_is_waited_for() {
    require!(Root);
    let own = Own::new("wait");
    let tree = CgroupTree::open().unwrap();
    let cgroup = tree.create(&below(&own, "a")).unwrap();
    assert!(cgroup.wait_empty(None).unwrap());
    let inner = tree.create(&below(&own, "a/b")).unwrap();
    let inhabitant = Inhabitant::of(&inner);
    assert!(cgroup.populated().unwrap());
    let soon = Instant::now() + Duration::from_millis(1);
    assert!(!cgroup.wait_empty(Some(soon)).unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| cgroup.wait_empty(Some(Instant::now() + DEADLINE)));
        inhabitant.end();
        assert!(waiting.join().unwrap().unwrap());
    });
}

#[test]
fn removing_takes_those_below_and_lets_processes_go_on_where_asked() {
    require!(Root);
    let own = Own::new("remove");
    let tree = CgroupTree::open().unwrap();
    let path = below(&own, "a");
    tree.create(&path).unwrap();
    let inner = tree.create(&below(&own, "a/b")).unwrap();
    let inhabitant = Inhabitant::of(&inner);
    let error = tree.remove(&path, Inhabitants::Stay).unwrap_err();
    assert!(
        error.to_string().contains("could not remove cgroup"),
        "{error}"
    );
    assert!(
        error.help().contains("end the processes"),
        "{}",
        error.help()
    );

    tree.remove(&path, Inhabitants::ToParent).unwrap();
    tree.remove(&path, Inhabitants::ToParent).unwrap();
    assert!(tree.cgroup(&path).unwrap_err().is_gone());
    let parent = tree.cgroup(own.name()).unwrap();
    assert_eq!(parent.processes().unwrap(), [inhabitant.id()]);
    inhabitant.end();
}

#[test]
fn the_driver_makes_finds_and_removes_the_cgroups_of_an_instance() {
    require!(Root);
    let own = Own::new("driver");
    let name = format!("t{}", std::process::id());
    let instance = Instance::new(&name).unwrap();
    let path = below(&own, &format!("steer-{name}"));
    let object = [Object::Cgroup(CgroupRef::Path(path.clone()))];
    let mut driver = CgroupDriver::new();
    let mut set = |from: &[Object], to: &[Object]| {
        driver.set(&Change {
            instance: &instance,
            netns: &Netns::Here,
            from,
            to,
        })
    };
    set(&[], &object).unwrap();
    set(&[], &object).unwrap();
    let tree = CgroupTree::open().unwrap();
    let inhabitant = Inhabitant::of(&tree.cgroup(&path).unwrap());

    // One that cannot be made: nothing of the change stays.
    let other = |name: &str| Object::Cgroup(CgroupRef::Path(below(&own, name)));
    let error = set(
        &object,
        &[object[0].clone(), other("b"), other("no/such/c")],
    )
    .unwrap_err();
    assert_eq!(error.domain, Domain::Cgroup);
    assert!(error.to_string().contains("no/such/c"), "{error}");
    assert!(tree.cgroup(&below(&own, "b")).unwrap_err().is_gone());

    let mut found = driver.observe(&Netns::Here).unwrap();
    found.retain(|found| found.instance.as_ref() == Some(&instance));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].what, format!("cgroup {path}"));
    driver.remove(&found[0]).unwrap();
    driver.remove(&found[0]).unwrap();
    assert!(tree.cgroup(&path).unwrap_err().is_gone());
    inhabitant.end();
}

const AGAIN: &str = "STEER_TEST_AGAIN";
