//! Work inside another network namespace, without leaving our own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::plan::Netns;

mod socket;

pub use socket::{MakeSockets, SocketKind, SocketWish};

/// A namespace that is held for its path.
///
/// A path such as `/proc/PID/ns/net` leads to another namespace, or nowhere, once its process is
/// gone. While one of these lives, the path means to [`open`], everywhere in this process, the
/// namespace that it led to at first: listeners, dials and rules cannot come to be in two.
#[derive(Clone, Debug)]
pub struct Held(#[expect(dead_code, reason = "held, not read")] Arc<File>);

impl Held {
    /// Holds the namespace of a path, and `None` for that of the calling process.
    ///
    /// # Errors
    /// The path does not lead to a namespace, or may not be read, or means another one to somebody
    /// in this process who holds that.
    pub fn of(netns: &Netns) -> io::Result<Option<Self>> {
        let Netns::Path(path) = netns else {
            return Ok(None);
        };
        let file = File::open(path)?;
        let mut table = table();
        table.retain(|_, held| held.strong_count() > 0);
        let file = match table.get(path).and_then(Weak::upgrade) {
            Some(held) if identity(&held)? == identity(&file)? => held,
            Some(_) => return Err(io::ErrorKind::ResourceBusy.into()),
            None => Arc::new(file),
        };
        table.insert(path.clone(), Arc::downgrade(&file));
        Ok(Some(Self(file)))
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

/// The process's table of namespaces that are held. It is the process's as its descriptors are:
/// whoever opens a path has to mean the same namespace by it.
fn table() -> MutexGuard<'static, BTreeMap<String, Weak<File>>> {
    static HELD: Mutex<BTreeMap<String, Weak<File>>> = Mutex::new(BTreeMap::new());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a namespace, which keeps it: the one that is [`Held`] for its path, or else the one that
/// the path leads to. What is opened is the same one however its path changes.
///
/// `None` is the namespace of the calling process.
///
/// # Errors
/// The path does not lead to a namespace, or may not be read.
pub fn open(netns: &Netns) -> io::Result<Option<File>> {
    let Netns::Path(path) = netns else {
        return Ok(None);
    };
    let held = table().get(path).and_then(Weak::upgrade);
    match held {
        Some(file) => file.try_clone().map(Some),
        None => File::open(path).map(Some),
    }
}

/// Runs `work` in a network namespace that was opened, or in ours.
///
/// Another namespace is entered by a thread of its own that ends with the work, so the caller's
/// never changes. What the work opens or starts stays in the namespace. Needs CAP_SYS_ADMIN.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let port = steer_core::netns::within(None::<&std::fs::File>, || {
///     std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
/// })??;
/// assert_ne!(port.port(), 0);
/// # Ok(()) }
/// ```
///
/// # Errors
/// The namespace cannot be entered.
pub fn within<T: Send>(
    netns: Option<impl AsFd + Sync>,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let Some(netns) = netns else {
        return Ok(work());
    };
    let entered = thread::scope(|scope| {
        scope
            .spawn(|| -> io::Result<T> {
                setns(&netns, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            })
            .join()
    });
    entered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A place to open sockets in: our own namespace, or another one in which a thread waits for work.
///
/// For whoever opens many: entering once costs a thread, each piece of work then some microseconds.
#[derive(Clone, Debug)]
pub struct Inside(Option<mpsc::Sender<Work>>);

type Work = Box<dyn FnOnce() + Send>;

impl Inside {
    /// The calling process's namespace.
    #[must_use]
    pub const fn here() -> Self {
        Self(None)
    }

    /// A namespace of a plan. Its thread ends with the last clone.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn of(netns: &Netns) -> io::Result<Self> {
        let Some(namespace) = open(netns)? else {
            return Ok(Self::here());
        };
        let (work_tx, work) = mpsc::channel::<Work>();
        let (entered_tx, entered) = mpsc::channel();
        thread::Builder::new()
            .name("steer-netns".to_owned())
            .spawn(move || {
                let done = setns(&namespace, CloneFlags::CLONE_NEWNET);
                let inside = done.is_ok();
                // Whoever asked waits for this answer.
                let _ = entered_tx.send(done);
                if inside {
                    work.into_iter().for_each(|work| work());
                }
            })?;
        entered.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        Ok(Self(Some(work_tx)))
    }

    /// Does a short piece of work in the namespace, and waits for it.
    ///
    /// # Errors
    /// The work panicked.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let Some(work_tx) = &self.0 else {
            return Ok(work());
        };
        let gone = |()| io::Error::from(io::ErrorKind::BrokenPipe);
        let (done_tx, done) = mpsc::sync_channel(1);
        let work = Box::new(move || {
            // A panic must not end the thread that others wait for; the sender is gone then.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if let Ok(result) = result {
                let _ = done_tx.send(result);
            }
        });
        work_tx.send(work).map_err(|_| gone(()))?;
        done.recv().map_err(|_| gone(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use lab::{Lab, require};

    use super::*;

    #[test]
    fn a_held_path_means_what_it_led_to_at_first_until_nobody_holds_it() {
        require!(Root);
        let lab = Lab::new("held");
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net");
        let point = |host: &lab::Host| {
            let _ = std::fs::remove_file(&path);
            symlink(host.namespace_path(), &path).unwrap();
        };
        let netns = Netns::Path(path.to_str().unwrap().to_owned());
        let opened = || identity(&open(&netns).unwrap().unwrap()).unwrap();
        point(&a);
        let in_a = opened();
        let held = Held::of(&netns).unwrap();
        let again = Held::of(&netns).unwrap();
        drop(held);
        point(&b);
        assert_eq!(opened(), in_a);
        let error = Held::of(&netns).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(opened(), in_a);
        assert!(Inside::of(&netns).is_ok());
        drop(again);
        assert!(open(&netns).is_err());
        point(&b);
        assert_ne!(opened(), in_a);
        assert!(Held::of(&Netns::Here).unwrap().is_none());
    }

    #[test]
    fn work_goes_on_after_a_panic_and_the_own_namespace_needs_no_thread() {
        require!(Root);
        assert_eq!(Inside::here().run(|| 1).unwrap(), 1);
        let own = Netns::Path("/proc/self/ns/net".to_owned());
        let inside = Inside::of(&own).unwrap();
        assert!(inside.run(|| panic!("on purpose")).is_err());
        assert_eq!(inside.run(|| 2).unwrap(), 2);
    }

    #[test]
    fn what_is_no_namespace_is_an_error() {
        let nothing = Netns::Path("/run/netns/steer-none".to_owned());
        assert!(Inside::of(&nothing).is_err());
        assert!(open(&nothing).is_err());
    }
}
