//! The mapping in a file, so that programs which still hold an address find its name after a
//! restart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steer_core::address::{Cidr, HostName};

use crate::clock::Clock;
use crate::error::ResolverError;

use super::book::Book;

/// Writes the mapping when it changed, at most once in a while, and at the end.
///
/// What was given away in the last moments before a SIGKILL is lost; such an address then stands
/// for nothing.
#[derive(Debug)]
pub(super) struct Store {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    changed: bool,
    ended: bool,
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    pools: Vec<Cidr>,
    /// The one used longest ago first.
    names: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: HostName,
    place: u32,
    /// Seconds since 1970.
    used: u64,
}

/// Why a file is not the mapping.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is larger than any mapping")]
    Size,
    #[error("it cannot be understood")]
    Form(#[from] serde_json::Error),
    #[error("it is of version {0}")]
    Version(u32),
    #[error("{0} stands for two names or lies outside the pool")]
    Place(u32),
}

impl Store {
    pub(super) fn open(
        path: &Path,
        pools: &[Cidr],
        book: Arc<Mutex<Book>>,
        clock: &dyn Clock,
    ) -> Result<Self, ResolverError> {
        let fault = |source| ResolverError::File {
            path: path.to_owned(),
            source,
        };
        if let Some(bytes) = read(path).map_err(fault)? {
            let content = bytes.and_then(|bytes| Content::parse(&bytes));
            let restored =
                content.and_then(|content| content.restore(pools, &mut lock(&book), clock.now()));
            if let Err(damage) = restored {
                set_aside(path, &damage).map_err(fault)?;
            }
        }
        let file = Target {
            path: path.to_owned(),
            pools: pools.to_vec(),
            book,
        };
        // Whether it can be written shows at the start, not when it is needed.
        file.write().map_err(fault)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let state = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("steer-fake-ip".to_owned())
            .spawn(move || state.run(&file))
            .map_err(fault)?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Tells that the mapping is another one.
    pub(super) fn changed(&self) {
        lock(&self.shared.state).changed = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the made-up addresses panicked");
        }
    }
}

impl Shared {
    fn run(&self, file: &Target) {
        let mut failed = false;
        loop {
            let idle = |state: &mut State| !state.changed && !state.ended;
            let mut state = self
                .wake
                .wait_while(lock(&self.state), idle)
                .unwrap_or_else(PoisonError::into_inner);
            let ended = state.ended;
            state.changed = false;
            drop(state);
            match file.write() {
                Ok(()) => failed = false,
                Err(error) => {
                    if !failed {
                        let path = file.path.display();
                        tracing::warn!(%error, %path, "made-up addresses could not be written");
                    }
                    failed = true;
                    lock(&self.state).changed = true;
                }
            }
            if ended {
                return;
            }
            let pause = if failed { RETRY } else { PAUSE };
            let state = lock(&self.state);
            drop(
                self.wake
                    .wait_timeout_while(state, pause, |state| !state.ended),
            );
        }
    }
}

/// The file that is written.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    pools: Vec<Cidr>,
    book: Arc<Mutex<Book>>,
}

impl Target {
    /// The file is the old one or the new one, never half of one.
    fn write(&self) -> io::Result<()> {
        let names = lock(&self.book)
            .entries()
            .map(|(name, place, used)| Line {
                name: name.clone(),
                place,
                used: used.as_secs(),
            })
            .collect();
        let content = Content {
            version: VERSION,
            pools: self.pools.clone(),
            names,
        };
        let bytes = serde_json::to_vec(&content)?;
        let draft = beside(&self.path, ".new");
        // Whatever a crash left there, or somebody else made with other rights.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)
    }
}

impl Content {
    fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let content: Self = serde_json::from_slice(bytes)?;
        if content.version == VERSION {
            Ok(content)
        } else {
            Err(Damage::Version(content.version))
        }
    }

    fn restore(self, pools: &[Cidr], book: &mut Book, now: Duration) -> Result<(), Damage> {
        if self.pools != pools {
            // The places have other addresses: what programs hold means nothing any more.
            tracing::info!("the pools are others: names get fresh made-up addresses");
            return Ok(());
        }
        let lines = self.names.into_iter().map(|Line { name, place, used }| {
            // A clock that went back must not protect an address for ever.
            (place, name, Duration::from_secs(used).min(now))
        });
        book.restore(lines).map_err(Damage::Place)
    }
}

/// The bytes of the file, if there is one.
fn read(path: &Path) -> io::Result<Option<Result<Vec<u8>, Damage>>> {
    let file = match OpenOptions::new()
        .read(true)
        // A FIFO must not hold up the start.
        .custom_flags(NONBLOCK)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    let limited = |file: File| file.take(SIZE_MOST + 1);
    limited(file).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= SIZE_MOST) {
        Ok(Some(Ok(bytes)))
    } else {
        Ok(Some(Err(Damage::Size)))
    }
}

/// Moves a file that is not understood out of the way: it may be somebody's.
fn set_aside(path: &Path, damage: &Damage) -> io::Result<()> {
    let aside = beside(path, ".damaged");
    fs::rename(path, &aside)?;
    tracing::warn!(
        error = damage as &dyn std::error::Error,
        path = %path.display(),
        moved_to = %aside.display(),
        "made-up addresses of earlier runs are lost: their file is damaged"
    );
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind our mutexes is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const VERSION: u32 = 1;

/// The shortest time between two writes.
const PAUSE: Duration = Duration::from_secs(1);

/// How long to wait after a write that failed.
const RETRY: Duration = Duration::from_secs(30);

/// More than a full pool of the longest names takes.
const SIZE_MOST: u64 = 64 << 20;

/// O_NONBLOCK.
const NONBLOCK: i32 = nix::fcntl::OFlag::O_NONBLOCK.bits();

#[cfg(test)]
mod tests;
