//! Network namespaces by their identity.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The namespace that a path leads to, as `dev:inode`.
pub fn of(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

/// A path to the namespace with this identity, while one exists: among the named ones, then
/// through a process that is in it.
#[must_use]
pub fn find(id: &str) -> Option<PathBuf> {
    let named = ["/run/netns", "/var/run/netns"]
        .into_iter()
        .flat_map(entries);
    let processes = entries("/proc")
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
        })
        .map(|path| path.join("ns/net"));
    named
        .chain(processes)
        .find(|path| of(path).is_ok_and(|found| found == id))
}

fn entries(dir: &str) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_found_through_a_process_in_it() {
        let id = crate::netns::current().unwrap();
        let path = find(&id).unwrap();
        assert_eq!(of(&path).unwrap(), id);
    }

    #[test]
    fn a_namespace_that_does_not_exist_is_not_found() {
        assert_eq!(find("4:1"), None);
    }
}
