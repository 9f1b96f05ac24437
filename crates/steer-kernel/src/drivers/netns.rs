//! Work in the namespace that a plan names, which is held while anything of ours stands there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use steer_core::driver::DriverError;
use steer_core::netns;
use steer_core::object::Domain;
use steer_core::plan::Netns;

/// Runs `work` in a network namespace: in the one that is held for its path, or else in the one
/// that the path leads to.
pub(crate) fn within<T: Send>(
    domain: Domain,
    netns: &Netns,
    work: impl FnOnce() -> T + Send,
) -> Result<T, DriverError> {
    let entered = match held(netns) {
        Some(file) => netns::within(Some(&*file), work),
        None => netns::open(netns).and_then(|file| netns::within(file, work)),
    };
    entered.map_err(|source| {
        DriverError::new(
            domain,
            format!("could not enter network namespace {}", path(netns)),
            "look for it with ip netns list; entering needs CAP_SYS_ADMIN: run as root",
        )
        .because(source)
    })
}

/// Namespaces that are held open by their paths.
///
/// A path such as `/proc/PID/ns/net` leads to another namespace, or nowhere, once its process is
/// gone. While one of these lives, the path means in this process the namespace that it led to
/// at first.
#[derive(Debug, Default)]
pub(super) struct Pins(BTreeMap<String, Arc<File>>);

impl Pins {
    /// Holds the namespace of a path, where it is not held already, and gives its identity.
    pub(super) fn hold(&mut self, path: &str) -> io::Result<String> {
        if let Some(file) = self.0.get(path) {
            return identity_of(file);
        }
        let netns = Netns::Path(path.to_owned());
        let file = netns::open(&netns)?.expect("a path is opened");
        self.insert(path, file)
    }

    /// Holds a namespace that somebody else held.
    pub(super) fn adopt(&mut self, path: &str, fd: OwnedFd) {
        // One that cannot be held is opened by its path, as it would be without a predecessor.
        let _ = self.insert(path, fd.into());
    }

    /// The paths with what they lead to.
    pub(super) fn held(&self) -> impl Iterator<Item = (&String, &File)> {
        self.0.iter().map(|(path, file)| (path, &**file))
    }

    fn insert(&mut self, path: &str, file: File) -> io::Result<String> {
        let id = identity_of(&file)?;
        let mut table = table();
        let held = table.get(path).and_then(Weak::upgrade);
        let file = match held {
            Some(held) if identity_of(&held)? == id => held,
            // Another steering of this process still works in the one that had the path before.
            Some(_) => return Err(io::ErrorKind::ResourceBusy.into()),
            None => Arc::new(file),
        };
        table.insert(path.to_owned(), Arc::downgrade(&file));
        self.0.insert(path.to_owned(), file);
        Ok(id)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.0.clear();
        table().retain(|_, file| file.strong_count() > 0);
    }
}

/// Whether a path leads to no namespace, and none is held for it: with the namespace went
/// everything that was in it.
pub(super) fn is_gone(netns: &Netns) -> bool {
    held(netns).is_none()
        && netns::open(netns).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The identity of a namespace, as `dev:inode`: of the one that is held for its path, or else of
/// the one that the path leads to.
pub(crate) fn identity(netns: &Netns) -> io::Result<String> {
    match (held(netns), netns) {
        (Some(file), _) => identity_of(&file),
        (None, _) => match netns::open(netns)? {
            Some(file) => identity_of(&file),
            None => crate::netns::current(),
        },
    }
}

/// The identity of an open namespace, as `dev:inode`.
fn identity_of(file: &File) -> io::Result<String> {
    let meta = file.metadata()?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

fn held(netns: &Netns) -> Option<Arc<File>> {
    match netns {
        Netns::Path(path) => table().get(path)?.upgrade(),
        _ => None,
    }
}

/// The process's table of namespaces that are held. It is the process's as its descriptors are:
/// every driver has to mean the same namespace by a path.
fn table() -> MutexGuard<'static, BTreeMap<String, Weak<File>>> {
    static HELD: Mutex<BTreeMap<String, Weak<File>>> = Mutex::new(BTreeMap::new());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(netns: &Netns) -> &str {
    match netns {
        Netns::Path(path) => path,
        _ => "/proc/self/ns/net",
    }
}

/// A duplicate of a namespace's descriptor, for whoever shall hold it as well.
pub(super) fn duplicate(file: &File) -> io::Result<OwnedFd> {
    file.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use lab::{Lab, require};

    use super::*;
    use crate::netns::current;

    /// Two namespaces and a path that can lead to either.
    fn stage() -> (tempfile::TempDir, String, lab::Host, lab::Host) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net").to_str().unwrap().to_owned();
        let lab = Lab::new("pins");
        let (a, b) = (lab.host("a"), lab.host("b"));
        (dir, path, a, b)
    }

    fn point(path: &str, host: &lab::Host) {
        let _ = fs::remove_file(path);
        symlink(host.namespace_path(), path).unwrap();
    }

    #[test]
    fn a_held_path_means_what_it_led_to_at_first_until_it_is_let_go() {
        require!(Root);
        let (_dir, path, a, b) = stage();
        let netns = Netns::Path(path.clone());
        let inside = || within(Domain::Route, &netns, || current().unwrap()).unwrap();
        let [in_a, in_b] = [&a, &b].map(|host| host.enter(|| current().unwrap()));
        point(&path, &a);
        let mut pins = Pins::default();
        assert_eq!(pins.hold(&path).unwrap(), in_a);
        point(&path, &b);
        assert_eq!(inside(), in_a);
        assert_eq!(pins.hold(&path).unwrap(), in_a);
        let error = Pins::default().hold(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        fs::remove_file(&path).unwrap();
        assert_eq!(inside(), in_a);
        assert!(!is_gone(&netns));
        drop(pins);
        assert!(is_gone(&netns));
        point(&path, &b);
        assert_eq!(inside(), in_b);
    }

    #[test]
    fn what_a_predecessor_held_is_held_on() {
        require!(Root);
        let (_dir, path, a, b) = stage();
        let in_a = a.enter(|| current().unwrap());
        point(&path, &a);
        let mut first = Pins::default();
        first.hold(&path).unwrap();
        let fds: Vec<OwnedFd> = first.held().map(|(_, f)| duplicate(f).unwrap()).collect();
        drop(first);
        point(&path, &b);
        let mut next = Pins::default();
        for fd in fds {
            next.adopt(&path, fd);
        }
        let netns = Netns::Path(path);
        assert_eq!(
            within(Domain::Route, &netns, || current().unwrap()).unwrap(),
            in_a
        );
    }
}
