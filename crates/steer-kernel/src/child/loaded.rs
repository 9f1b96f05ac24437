//! The processes that have a library loaded.

use std::fs;
use std::io;
use std::path::Path;

use crate::journal::process;

/// The processes that were started since this one was and have this library loaded, which may be
/// deleted meanwhile; as far as this user may look at them.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes_with(library: &Path) -> io::Result<Vec<u32>> {
    let since = process::this().started;
    let path = library.to_string_lossy();
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Tables of mappings are long: those of earlier processes are not read.
        let is_later = process::started(pid).is_ok_and(|started| started >= since);
        if is_later && has(pid, &path) {
            all.push(pid);
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// Whether it is in the process's mappings, proc_pid_maps(5).
fn has(pid: u32, path: &str) -> bool {
    let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else {
        return false;
    };
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let line = line.strip_suffix(" (deleted)").unwrap_or(line);
        line.strip_suffix(path)
            .is_some_and(|rest| rest.ends_with(' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_what_it_has_mapped_and_only_by_that() {
        let exe = std::env::current_exe().unwrap();
        let ours = std::process::id();
        assert!(processes_with(&exe).unwrap().contains(&ours));
        let part = Path::new(exe.file_name().unwrap());
        assert!(!processes_with(part).unwrap().contains(&ours));
    }
}
