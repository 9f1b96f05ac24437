//! Directory trees as lines.

use std::fs;
use std::path::Path;

/// Every directory below the root, relative to it, sorted.
pub(super) fn directories(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, root, &mut |path, relative| {
        if path.is_dir() {
            lines.push(relative.to_owned());
        }
    });
    lines.sort();
    lines
}

/// Everything below the root with its size, relative to it, sorted.
pub(super) fn entries(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, root, &mut |path, relative| {
        let size =
            fs::symlink_metadata(path).map_or(0, |it| if it.is_dir() { 0 } else { it.len() });
        lines.push(format!("{relative} {size} bytes"));
    });
    lines.sort();
    lines
}

/// Visits everything below `directory`; what vanishes meanwhile is passed over.
pub(super) fn walk(root: &Path, directory: &Path, visit: &mut impl FnMut(&Path, &str)) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let relative = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        visit(&path, &relative);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(root, &path, visit);
        }
    }
}
