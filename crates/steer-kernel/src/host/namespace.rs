//! Where a network namespace is that a config names.

mod container;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use steer_core::host::Namespace;

/// The namespace of a path, a name under `/run/netns`, a process or a container.
///
/// A namespace that is there and cannot be entered is told as absent, with the reason.
pub(super) fn find(key: &str) -> Namespace {
    let mut looked = Vec::new();
    for (what, path) in candidates(key) {
        match enterable(&path) {
            Ok(()) => return Namespace::At(path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => looked.push(what),
            Err(error) => return Namespace::Absent(format!("{what} cannot be entered: {error}")),
        }
    }
    if !key.starts_with('/') {
        match container::process_of(key) {
            Ok(pid) => {
                let path = process(pid);
                return match enterable(&path) {
                    Ok(()) => Namespace::At(path.display().to_string()),
                    Err(error) => Namespace::Absent(format!(
                        "the container's process {pid} is there and cannot be entered: {error}"
                    )),
                };
            }
            Err(why) => looked.extend(why),
        }
    }
    Namespace::Absent(format!("looked for {}", looked.join(", ")))
}

/// The file by which programs in a namespace find their resolvers.
///
/// A named one has its own where `ip netns exec` would show it, and that of a process is in the
/// process's file system.
pub(super) fn resolv_conf(netns: &str) -> PathBuf {
    let path = Path::new(netns);
    let own = match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) if NAMED.iter().any(|named| dir == Path::new(named)) => {
            Path::new("/etc/netns").join(name).join("resolv.conf")
        }
        _ => match netns.strip_suffix("/ns/net") {
            Some(process) => Path::new(process).join("root/etc/resolv.conf"),
            None => PathBuf::new(),
        },
    };
    match own.exists() {
        true => own,
        false => PathBuf::from("/etc/resolv.conf"),
    }
}

/// The files that a key may mean, each with its name for people.
fn candidates(key: &str) -> Vec<(String, PathBuf)> {
    if key.starts_with('/') {
        return vec![(key.to_owned(), PathBuf::from(key))];
    }
    let mut all = Vec::new();
    if let Ok(pid) = key.parse::<u32>() {
        all.push((format!("process {pid}"), process(pid)));
    }
    // A name, and no way out of the directory.
    if !key.contains('/') && !matches!(key, "" | "." | "..") {
        let named = NAMED.iter().map(|dir| Path::new(dir).join(key));
        all.extend(named.map(|path| (path.display().to_string(), path)));
    }
    all
}

/// Whether a path leads to a network namespace that we may enter.
fn enterable(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    steer_core::netns::within(Some(file), || ())
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

const NAMED: [&str; 2] = ["/run/netns", "/var/run/netns"];

#[cfg(test)]
mod tests {
    use lab::{Lab, Need, require};

    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_all_that_was_looked_for() {
        let Namespace::Absent(why) = find("steer-none") else {
            panic!("there is no such namespace");
        };
        assert!(why.contains("/run/netns/steer-none"), "{why}");
        assert!(why.contains("a container"), "{why}");
        let Namespace::Absent(why) = find("/nonexistent/net") else {
            panic!("there is no such path");
        };
        assert_eq!(why, "looked for /nonexistent/net");
        // No file but the one that is meant, and no option of a program.
        assert!(matches!(find("../../etc/passwd"), Namespace::Absent(_)));
        assert!(matches!(find("--help"), Namespace::Absent(_)));
    }

    #[test]
    fn a_namespace_is_found_by_name_path_and_process() {
        if !require(&[Need::Root]) {
            return;
        }
        let host = Lab::new("named").host("app");
        let path = host.namespace_path().display().to_string();
        assert_eq!(find(host.namespace_name()), Namespace::At(path.clone()));
        assert_eq!(find(&path), Namespace::At(path));
        let sleeper = host.program("sleep").arg("1000").spawn();
        let inside = format!("/proc/{}/ns/net", sleeper.pid());
        assert_eq!(find(&sleeper.pid().to_string()), Namespace::At(inside));
        // A file that is no namespace.
        assert!(matches!(find("/etc/passwd"), Namespace::Absent(_)));
    }

    #[test]
    fn resolvers_are_those_of_the_namespace_s_file_system() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let there = format!("/proc/{}/root/etc/resolv.conf", std::process::id());
        assert_eq!(resolv_conf(&own), PathBuf::from(there));
        let default = PathBuf::from("/etc/resolv.conf");
        assert_eq!(resolv_conf("/run/netns/steer-none"), default);
        assert_eq!(resolv_conf("/somewhere/else"), default);
    }
}
