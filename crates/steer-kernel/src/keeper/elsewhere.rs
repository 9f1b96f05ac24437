//! Steerings in force whose journals are in other run directories.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use steer_core::journal::Journal;

use super::process::NAME;
use crate::journal::RunDir;

/// The journals of living keepers that are not in `own`.
///
/// A keeper's environment says where it writes; its path is taken as the keeper sees it, which may
/// be in another mount namespace. What cannot be read belongs to a user whom we may not touch
/// either.
pub(super) fn journals(own: &RunDir) -> Vec<Journal> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = processes
        .flatten()
        .filter(|entry| is_keeper(&entry.path()))
        .filter_map(|entry| directory(&entry.path()))
        .filter(|dir| !same(dir, own.path()))
        .collect();
    dirs.sort_unstable();
    dirs.dedup_by(|a, b| same(a, b));
    dirs.into_iter()
        .filter_map(|dir| RunDir::at(dir).read_unchecked().ok())
        .flatten()
        .filter_map(|entry| entry.journal.ok())
        .collect()
}

fn is_keeper(process: &Path) -> bool {
    fs::read(process.join("comm")).is_ok_and(|name| name.trim_ascii_end() == NAME.to_bytes())
}

/// Where a keeper writes, by the rules of [`RunDir::find`].
fn directory(process: &Path) -> Option<PathBuf> {
    let environment = fs::read(process.join("environ")).ok()?;
    let set = |name: &str| {
        environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .filter(|value| !value.is_empty())
            .map(|value| PathBuf::from(OsStr::from_bytes(value)))
    };
    let is_root = || fs::metadata(process).is_ok_and(|meta| meta.uid() == 0);
    let path = set("STEER_RUN_DIR")
        .or_else(|| is_root().then(|| PathBuf::from("/run/steer")))
        .or_else(|| Some(set("XDG_RUNTIME_DIR")?.join("steer")))?;
    let relative = path.strip_prefix("/").ok()?;
    Some(process.join("root").join(relative))
}

/// Whether two paths are one directory.
fn same(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}
