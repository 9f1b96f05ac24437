//! The cgroup hierarchy that a test process has for itself.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use crate::cgroup::{Cgroup, cgroup2_mount};

/// A cgroup of this test process's own, which stands for the root of the hierarchy.
///
/// The process and all that it starts are in there, so that its threads and their sockets are, too;
/// a program that [`Program::in_hierarchy`](crate::Program::in_hierarchy) has confined takes it for
/// the root. What such a program attaches to every cgroup is attached to those of this process, and
/// never to the machine's.
///
/// It is made on first use, and removed, with all that runs there, when the process has ended,
/// however it ends.
#[derive(Debug)]
pub struct Hierarchy {
    path: PathBuf,
    /// Removes the cgroup at the end of its input, which is that of this process.
    _remover: Child,
}

impl Hierarchy {
    /// The one of this process; needs root of the machine and cgroup2.
    pub fn own() -> &'static Self {
        static OWN: LazyLock<Hierarchy> = LazyLock::new(Hierarchy::make);
        &OWN
    }

    /// The directory of its root, in the machine's hierarchy.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn make() -> Self {
        let cgroup = Cgroup::new("own");
        let path = cgroup.path().to_owned();
        let mut remover = Command::new("sh");
        remover.args(["-c", REMOVE, "sh"]).arg(&path);
        remover.process_group(0).stdin(Stdio::piped());
        remover.stdout(Stdio::null()).stderr(Stdio::null());
        let remover = remover.spawn().expect("the lab needs a shell");
        // From here on the other process is responsible.
        std::mem::forget(cgroup);
        fs::write(path.join("cgroup.procs"), "0").expect("root moves itself");
        Self {
            path,
            _remover: remover,
        }
    }
}

/// The directory in which a confined program finds its hierarchy.
pub(crate) fn mount_point() -> PathBuf {
    cgroup2_mount().expect("cgroup2 is mounted")
}

/// Waits for the end of the process, kills what it has left, and removes its cgroups.
const REMOVE: &str = "\
cat
n=0
while [ -d \"$1\" ] && [ $n -lt 500 ]; do
    echo 1 > \"$1/cgroup.kill\"
    find \"$1\" -depth -type d -exec rmdir {} \\;
    sleep 0.02
    n=$((n + 1))
done
# A container engine makes the same names in every hierarchy of old.
for old in /sys/fs/cgroup/*/\"${1##*/}\"; do
    [ -d \"$old\" ] && find \"$old\" -depth -type d -exec rmdir {} \\;
done";
