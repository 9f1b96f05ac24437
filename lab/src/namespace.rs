//! A network namespace with a path, that ends with its guard.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The guard of one namespace: on drop it kills whatever still runs inside and removes the name.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    handle: Arc<OwnedFd>,
    /// Whether what runs inside ends with it.
    made: bool,
}

impl Namespace {
    /// Makes a namespace whose name holds `label`, this process's id and a counter.
    pub(crate) fn new(label: &str) -> Self {
        Self::named(label, None)
    }

    /// Gives such a name to the namespace of a process, which is another's.
    pub(crate) fn of_process(label: &str, pid: i32) -> Self {
        Self::named(label, Some(pid))
    }

    fn named(label: &str, of: Option<i32>) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        // `ip netns add` mounts /run/netns the first time, which two processes must not do at once.
        static MAKING: Mutex<()> = Mutex::new(());
        SWEEP.call_once(sweep);
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{label}-{}-{counter}", std::process::id());
        let making = MAKING.lock();
        match of {
            None => ip(&["netns", "add", &name]),
            Some(pid) => ip(&["netns", "attach", &name, &pid.to_string()]),
        };
        drop(making);
        let file = File::open(path_of(&name)).expect("a namespace just made can be opened");
        Self {
            name,
            handle: Arc::new(file.into()),
            made: of.is_none(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    pub(crate) fn handle(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.handle)
    }

    /// Moves the calling thread into the namespace for the rest of its life.
    pub(crate) fn join(&self) {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).expect("root can enter a namespace it made");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.made {
            end_inhabitants(&self.name);
        }
        remove(&self.name);
    }
}

/// Runs `ip` with these words and panics with its own complaint when it fails.
pub(crate) fn ip(words: &[&str]) -> String {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output();
    let output = output.expect("the lab needs the program `ip`");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {}: {complaint}",
        words.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Removes the namespaces of labs whose process is dead.
fn sweep() {
    for name in abandoned(DIRECTORY.as_ref()) {
        end_inhabitants(&name);
        remove(&name);
    }
}

/// The entries of a directory that labs made whose process is dead.
pub(crate) fn abandoned(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_dead = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
    names
        .filter(|name| owner(name).is_some_and(is_dead))
        .collect()
}

/// The process that made a thing of this name, if a lab made it.
fn owner(name: &str) -> Option<u32> {
    let (rest, _counter) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
    rest.rsplit_once('-')?.1.parse().ok()
}

fn end_inhabitants(name: &str) {
    if let Err(error) = kill_inhabitants(&path_of(name)) {
        eprintln!("lab: processes inside {name} could not be listed: {error}");
    }
}

fn remove(name: &str) {
    let done = Command::new("ip")
        .args(["netns", "del", name])
        .stdin(Stdio::null())
        .output();
    match done {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!(
            "lab: {name} stays: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("lab: {name} stays: {error}"),
    }
}

/// Kills every process in the namespace: a test may have left daemons that no guard knows.
fn kill_inhabitants(path: &Path) -> io::Result<()> {
    let inode = std::fs::metadata(path)?.ino();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let inside =
            std::fs::metadata(entry.path().join("ns/net")).is_ok_and(|it| it.ino() == inode);
        if inside && pid != std::process::id() as i32 {
            // It may have ended by itself in between.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    Ok(())
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "lab-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_made_by_a_lab_have_an_owner() {
        assert_eq!(owner("lab-my-app-4711-0"), Some(4711));
        assert_eq!(owner("lab-app"), None);
        assert_eq!(owner("blue-4711-0"), None);
    }
}
