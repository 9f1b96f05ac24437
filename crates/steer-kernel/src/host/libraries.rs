//! Where a library can be put that programs load.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, eaccess, geteuid};

/// The first directory in which this user can put a library that programs load: on a file system
/// that lets code be mapped, and nobody else can put another one in its place.
///
/// It need not exist; the one above it does then. Its path leads through no symlink, and has no
/// blank and no colon, which part the entries of LD_PRELOAD (ld.so(8)).
#[must_use]
pub fn libraries() -> Option<PathBuf> {
    let mut resolved = candidates().into_iter().filter_map(|dir| resolve(&dir));
    resolved.find(|dir| is_fit(dir))
}

/// The directory without the symlinks on its way; itself it may be none, nor be there.
fn resolve(dir: &Path) -> Option<PathBuf> {
    let above = dir.is_absolute().then(|| dir.parent())??;
    Some(fs::canonicalize(above).ok()?.join(dir.file_name()?))
}

fn candidates() -> Vec<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let user = geteuid();
    let named = format!("steer-lib-{user}");
    let mut found = Vec::new();
    if let Some(dir) = set("STEER_RUN_DIR") {
        found.push(Path::new(&dir).join("lib"));
    }
    match set("XDG_RUNTIME_DIR") {
        _ if user.is_root() => found.push("/run/steer-lib".into()),
        Some(dir) => found.push(Path::new(&dir).join("steer-lib")),
        None => {}
    }
    found.extend(set("TMPDIR").map(|dir| Path::new(&dir).join(&named)));
    found.extend(["/tmp", "/var/tmp"].map(|dir| Path::new(dir).join(&named)));
    found
}

fn is_fit(dir: &Path) -> bool {
    let plain = |text: &str| dir.is_absolute() && !text.contains([' ', ':', ',', '{', '}']);
    if !dir.to_str().is_some_and(plain) {
        return false;
    }
    let Some(above) = dir.parent() else {
        return false;
    };
    let itself = match fs::symlink_metadata(dir) {
        Ok(meta) => {
            let ours = meta.is_dir() && meta.uid() == geteuid().as_raw();
            if !ours || meta.mode() & OTHERS_WRITE != 0 {
                return false;
            }
            takes_code(dir)
        }
        Err(_) => None,
    };
    // Other engines of the user make and remove it at any time.
    let fit = itself.or_else(|| takes_code(above));
    fit == Some(true) && dir.ancestors().skip(1).all(is_guarded)
}

/// Whether this user can write in a directory, and programs load what is there; nothing where it is
/// not there.
fn takes_code(dir: &Path) -> Option<bool> {
    let maps_code = match statvfs(dir) {
        Err(Errno::ENOENT) => return None,
        found => found.is_ok_and(|fs| !fs.flags().contains(FsFlags::ST_NOEXEC)),
    };
    match eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(Errno::ENOENT) => None,
        allowed => Some(maps_code && allowed.is_ok()),
    }
}

/// Whether nobody but root and this user can put another directory in the place of one in it.
fn is_guarded(above: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    fs::symlink_metadata(above).is_ok_and(|meta| {
        let of_trusted = meta.uid() == geteuid().as_raw() || is_root(meta.uid());
        let closed = meta.mode() & OTHERS_WRITE == 0 || meta.mode() & STICKY != 0;
        meta.is_dir() && of_trusted && closed
    })
}

/// Whether an owner is root, also where this user namespace has no number for it: it is then shown
/// as the overflow uid (user_namespaces(7)), like all who have none.
fn is_root(owner: u32) -> bool {
    const OVERFLOW: u32 = 65534;
    let has_all = || {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
    };
    owner == 0 || owner == OVERFLOW && !has_all()
}

const OTHERS_WRITE: u32 = 0o022;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn with_mode(dir: &Path, mode: u32) {
        fs::create_dir_all(dir).unwrap();
        fs::set_permissions(dir, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_change_is_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        assert!(is_fit(&own), "it can be made");
        with_mode(&own, 0o711);
        assert!(is_fit(&own));
        with_mode(&own, 0o777);
        assert!(!is_fit(&own));
        let open = dir.path().join("open");
        with_mode(&open, 0o777);
        assert!(!is_fit(&open.join("lib")));
        with_mode(&open, 0o1777);
        assert!(is_fit(&open.join("lib")));
        std::os::unix::fs::symlink(&open, dir.path().join("link")).unwrap();
        assert!(!is_fit(&dir.path().join("link")));
    }

    #[test]
    fn a_directory_is_as_safe_as_every_one_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        let deep = open.join("mine/lib");
        with_mode(&open, 0o777);
        with_mode(&open.join("mine"), 0o700);
        assert!(!is_fit(&deep));
        with_mode(&open, 0o1777);
        assert!(is_fit(&deep));
        // A symlink is no way to it: what it leads to is.
        let mine = dir.path().join("mine");
        std::os::unix::fs::symlink(open.join("mine"), &mine).unwrap();
        assert!(!is_fit(&mine.join("lib")));
        let resolved = resolve(&mine.join("lib")).unwrap();
        assert_eq!(
            resolved,
            fs::canonicalize(dir.path()).unwrap().join("open/mine/lib")
        );
        assert!(is_fit(&resolved));
    }

    #[test]
    fn a_path_that_would_be_two_entries_is_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_fit(&dir.path().join("a b")));
        assert!(!is_fit(&dir.path().join("a:b")));
        assert!(!is_fit(Path::new("relative")));
    }
}
