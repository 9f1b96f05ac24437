//! A control group of the unified hierarchy, made for a test.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use crate::hierarchy::Hierarchy;
use crate::namespace::abandoned;
use crate::watched::DEADLINE;

/// A cgroup directly below the root of a hierarchy, removed on drop with all below it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    procs: Arc<OwnedFd>,
}

impl Cgroup {
    /// Makes a cgroup whose name holds the label, this process's id and a counter.
    pub fn new(label: &str) -> Self {
        let root = cgroup2_mount().expect("cgroup2 is mounted");
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| {
            let abandoned = abandoned(&root);
            abandoned.iter().for_each(|name| remove(&root.join(name)));
        });
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self::make(root.join(format!("lab-{label}-{}-{counter}", std::process::id())))
    }

    /// Makes a cgroup of this very name in the hierarchy of this process's own.
    pub fn in_hierarchy(name: &str) -> Self {
        Self::make(Hierarchy::own().path().join(name))
    }

    fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let procs = File::options()
            .write(true)
            .open(path.join("cgroup.procs"))
            .expect("a cgroup just made has a list");
        Self {
            path,
            procs: Arc::new(procs.into()),
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name from the root of the hierarchy, without a leading slash.
    pub fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("made from text")
    }

    pub(crate) fn procs(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.procs)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Kills whatever is in a cgroup and removes it with all below it.
fn remove(path: &Path) {
    // Best effort: on kernels without `cgroup.kill` the test's own guards end the processes.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let end = Instant::now() + DEADLINE;
    while let Err(error) = remove_tree(path) {
        if error.kind() == ErrorKind::NotFound {
            return;
        }
        if Instant::now() > end {
            eprintln!("lab: {} stays: {error}", path.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes a cgroup after those below it.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        remove_tree(&entry.path())?;
    }
    fs::remove_dir(path)
}

/// Where cgroup2 is mounted: beside v1 on hybrid machines.
pub fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| PathBuf::from(place.split(' ').nth(4).unwrap_or_default()))
    })
}
