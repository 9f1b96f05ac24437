//! Finding the file that a command's name means.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};

use super::ProgramError;

/// The file that execvp(3) would execute with this PATH.
pub(super) fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let program = || name.to_string_lossy().into_owned();
    let mut denied = None;
    let mut missing = io::Error::from(Errno::ENOENT);
    for file in candidates(name, path.unwrap_or(OsStr::new(DEFAULT))) {
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(Errno::EACCES) => denied = Some(Errno::EACCES),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV) => {}
            Err(other) => {
                missing = other.into();
                break;
            }
        }
    }
    Err(match denied {
        Some(errno) => ProgramError::NotExecutable {
            program: program(),
            source: errno.into(),
        },
        None => ProgramError::NotFound {
            program: program(),
            source: missing,
        },
    })
}

/// The files that are tried, in their order: none for an empty name, that of a name with a slash.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    // An empty part is the working directory.
    let parts = path.as_bytes().split(|byte| *byte == b':');
    parts
        .map(|part| Path::new(OsStr::from_bytes(part)).join(name))
        .collect()
}

fn executable(file: &Path) -> Result<(), Errno> {
    eaccess(file, AccessFlags::X_OK)?;
    let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
    // Executing a directory is EACCES.
    is_file.then_some(()).ok_or(Errno::EACCES)
}

/// What execvp(3) takes where PATH is not set.
const DEFAULT: &str = "/bin:/usr/bin";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_file_that_can_be_executed_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let place = |part: &str, mode: u32| {
            let part = dir.path().join(part);
            std::fs::create_dir_all(&part).unwrap();
            let file = part.join("tool");
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            file
        };
        let plain = place("plain", 0o644);
        let good = place("good", 0o755);
        std::fs::create_dir_all(dir.path().join("folder/tool")).unwrap();
        let parts = ["missing", "plain", "folder", "good"].map(|part| dir.path().join(part));
        let path = std::env::join_paths(&parts).unwrap();
        assert_eq!(find("tool".as_ref(), Some(&path)).unwrap(), good);
        let path = std::env::join_paths(&parts[..3]).unwrap();
        assert!(matches!(
            find("tool".as_ref(), Some(&path)),
            Err(ProgramError::NotExecutable { .. })
        ));
        assert!(matches!(
            find("tool".as_ref(), Some(parts[0].as_os_str())),
            Err(ProgramError::NotFound { .. })
        ));
        assert!(matches!(
            find(plain.as_os_str(), None),
            Err(ProgramError::NotExecutable { .. })
        ));
        assert!(matches!(
            find("".as_ref(), None),
            Err(ProgramError::NotFound { .. })
        ));
    }

    #[test]
    fn an_empty_part_of_the_path_is_the_working_directory() {
        let tried = candidates("x".as_ref(), ":/bin".as_ref());
        assert_eq!(tried, [Path::new("x"), Path::new("/bin/x")]);
    }
}
