//! The library on disk: unpacked for one steering, gone when no process needs it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use steer_kernel::host::libraries;

/// The library, for the machine that this is built for; nothing where there is none.
pub(crate) static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steer-preload.so"));

/// The library of one steering on disk, locked for as long as the engine lives.
///
/// It is called after the engine's control socket, so that two steerings never share one: what one
/// removes, another's command would no longer load. The name is no secret: only its user can write
/// in its directory.
#[derive(Debug)]
pub(crate) struct Library {
    path: PathBuf,
    _lock: Flock<File>,
}

/// What [`sweep`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    /// Libraries that were removed.
    pub(crate) removed: Vec<PathBuf>,
    /// Libraries of dead engines that processes still have in their environment.
    pub(crate) used: Vec<PathBuf>,
}

impl Library {
    /// Puts the library where the plan says.
    ///
    /// # Errors
    /// It cannot be written there.
    pub(crate) fn unpack(dir: &Path, control: &str) -> io::Result<Self> {
        let path = dir.join(format!("{control}.so"));
        let mut last = io::ErrorKind::WouldBlock.into();
        for attempt in 0..ATTEMPTS {
            let unfinished = dir.join(format!("{control}.so.{attempt}{UNFINISHED}"));
            match write(dir, &unfinished, &path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => {}
                // Another has removed the directory, which was empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
                Err(error) => {
                    let _ = fs::remove_file(&unfinished);
                    return Err(cannot(&path, &error));
                }
            }
        }
        Err(cannot(&path, &last))
    }
}

fn cannot(path: &Path, error: &io::Error) -> io::Error {
    let path = path.display();
    let said = format!("the library {path} that programs load cannot be written: {error}");
    io::Error::new(error.kind(), said)
}

/// Writes the library under a name that no program loads, locked before it has its own; nothing
/// where another took it for a leftover meanwhile.
fn write(dir: &Path, unfinished: &Path, path: &Path) -> io::Result<Option<Flock<File>>> {
    make(dir)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)?;
    let Some(mut file) = lock(file)? else {
        return Ok(None);
    };
    file.write_all(BYTES)?;
    file.set_permissions(PermissionsExt::from_mode(0o555))?;
    match fs::rename(unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        renamed => renamed?,
    }
    let (ours, there) = (file.metadata()?, fs::symlink_metadata(path)?);
    let same = (ours.dev(), ours.ino()) == (there.dev(), there.ino());
    Ok(same.then_some(file))
}

impl Drop for Library {
    fn drop(&mut self) {
        let Self { path, .. } = self;
        if is_used(path) {
            tracing::info!(path = %path.display(), "processes still use the library; it stays");
            return;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(%error, path = %path.display(), "the library could not be removed");
        }
        // Others may have theirs there.
        let _ = path.parent().map(fs::remove_dir);
    }
}

/// Removes libraries whose engine is dead and that no process uses.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn sweep() -> io::Result<Leftovers> {
    match libraries() {
        Some(dir) => sweep_in(&dir),
        None => Ok(Leftovers::default()),
    }
}

fn sweep_in(dir: &Path) -> io::Result<Leftovers> {
    let mut found = Leftovers::default();
    let files = match fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for file in files {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let ours = |name: &str| {
            name.starts_with(CONTROL) && (name.ends_with(".so") || name.ends_with(UNFINISHED))
        };
        if !name.is_some_and(ours) {
            continue;
        }
        // One that goes meanwhile is none.
        let Some(lock) = File::open(&path).ok().and_then(|file| lock(file).ok()) else {
            continue;
        };
        match lock {
            None => {}
            Some(_) if is_used(&path) => found.used.push(path),
            Some(_) => match fs::remove_file(&path) {
                Ok(()) => found.removed.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
        }
    }
    let _ = fs::remove_dir(dir);
    Ok(found)
}

/// Locks a file; nothing where its engine has it.
fn lock(file: File) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Makes the directory, or sees that it is ours alone.
fn make(dir: &Path) -> io::Result<()> {
    // Programs that become another user load it, too.
    match DirBuilder::new().mode(0o711).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(dir)?;
    if meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not this user's alone", dir.display()),
        ))
    }
}

/// Whether a process has the library in its environment: it, or what it starts, would load it.
///
/// Processes of others cannot be asked, except by root.
fn is_used(path: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    let needle = path.as_os_str().as_encoded_bytes();
    processes.flatten().any(|process| {
        let name = process.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            return false;
        }
        let variables = fs::read(process.path().join("environ")).unwrap_or_default();
        variables
            .split(|byte| *byte == 0)
            .filter_map(|entry| entry.strip_prefix(b"LD_PRELOAD="))
            .any(|list| list.split(|byte| *byte == b':').any(|one| one == needle))
    })
}

/// What every control socket's name begins with.
const CONTROL: &str = "steer-control-";

/// What the name of a library ends with that is not written to its end.
const UNFINISHED: &str = ".new";

/// How often it is tried against others that sweep at the same time.
const ATTEMPTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn the_library_is_small_and_needs_no_other() {
        assert!(BYTES.starts_with(b"\x7fELF"));
        assert!(BYTES.len() < 100_000, "{}", BYTES.len());
    }

    #[test]
    fn a_library_lives_as_long_as_its_engine_and_others_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("lib");
        let library = Library::unpack(&dir, "steer-control-a").unwrap();
        let path = library.path.clone();
        assert_eq!(fs::read(&path).unwrap(), BYTES);
        assert_eq!(sweep_in(&dir).unwrap(), Leftovers::default());
        assert!(path.exists());
        // As kill -9 leaves it.
        let dead = dir.join("steer-control-b.so");
        fs::write(&dead, BYTES).unwrap();
        let foreign = dir.join("something-else");
        fs::write(&foreign, "").unwrap();
        let swept = sweep_in(&dir).unwrap();
        assert_eq!(swept.removed, [dead]);
        drop(library);
        assert!(!path.exists() && foreign.exists());
        fs::remove_file(foreign).unwrap();
        sweep_in(&dir).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn engines_that_begin_and_end_at_the_same_time_leave_each_other_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("lib");
        std::thread::scope(|scope| {
            for engine in 0..6 {
                let dir = &dir;
                scope.spawn(move || {
                    for run in 0..100 {
                        sweep_in(dir).unwrap();
                        let name = format!("steer-control-{engine}-{run}");
                        let library = Library::unpack(dir, &name).unwrap();
                        assert_eq!(fs::read(&library.path).unwrap(), BYTES);
                    }
                });
            }
        });
        sweep_in(&dir).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn what_an_engine_left_half_written_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("steer-control-d.so.0.new");
        fs::write(&left, "half").unwrap();
        assert_eq!(sweep_in(dir.path()).unwrap().removed, [left]);
    }

    #[test]
    fn a_library_that_cannot_be_written_is_named() {
        let error = Library::unpack(Path::new("/proc/nowhere"), "steer-control-e").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/proc/nowhere/steer-control-e.so"),
            "{error}"
        );
    }

    #[test]
    fn a_library_that_a_process_may_still_load_stays() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::unpack(dir.path(), "steer-control-c").unwrap();
        let path = library.path.clone();
        let mut process = Command::new("cat")
            .env("LD_PRELOAD", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its environment can be read a moment after it was executed.
        process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let said = process.stdout.as_mut().unwrap();
        said.read_exact(&mut [0]).unwrap();
        drop(library);
        assert!(path.exists());
        let used = sweep_in(dir.path()).unwrap().used;
        assert_eq!(used, std::slice::from_ref(&path));
        drop(process.stdin.take());
        process.wait().unwrap();
        assert_eq!(sweep_in(dir.path()).unwrap().removed, [path]);
    }
}
