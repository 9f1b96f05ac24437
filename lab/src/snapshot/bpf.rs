//! BPF objects of the machine, asked for by bpf(2) itself so that no program has to be installed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;

use super::tree;
use crate::cgroup::cgroup2_mount;
use crate::sys::{bpf, bpf_descriptor, bpf_info, bpf_value};

/// A line for each link, program, named steering and pinned object, without ids, which never repeat.
pub(super) fn lines() -> Vec<String> {
    let cgroups = cgroup_names();
    let mut lines = objects(&LINKS, |_, info| Some(link(info, &cgroups)));
    lines.extend(objects(&PROGRAMS, |_, info| Some(program(info))));
    lines.extend(objects(&MAPS, owner));
    tree::walk(
        "/sys/fs/bpf".as_ref(),
        "/sys/fs/bpf".as_ref(),
        &mut |_, name| lines.push(format!("pinned {name}")),
    );
    lines.sort();
    lines
}

/// The bpf(2) commands that walk one kind of objects.
struct Kind {
    next_id: u32,
    by_id: u32,
}

const PROGRAMS: Kind = Kind {
    next_id: 11,
    by_id: 13,
};
const LINKS: Kind = Kind {
    next_id: 31,
    by_id: 30,
};

const MAPS: Kind = Kind {
    next_id: 12,
    by_id: 14,
};

fn objects(
    kind: &Kind,
    describe: impl Fn(BorrowedFd<'_>, &[u8; 256]) -> Option<String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut id = 0;
    loop {
        let mut attributes = [0; 32];
        attributes[0] = id;
        match bpf(kind.next_id, &mut attributes) {
            Ok(_) => id = attributes[1],
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return lines,
            Err(error) => return vec![format!("(BPF objects cannot be listed: {error})")],
        }
        let mut attributes = [0; 32];
        attributes[0] = id;
        // An object may end between the two calls.
        let object = bpf_descriptor(kind.by_id, &mut attributes);
        let line = object.and_then(|it| Ok(describe(it.as_fd(), &bpf_info(it.as_fd())?)));
        lines.extend(line.ok().flatten());
    }
}

/// `struct bpf_prog_info`: type, id, tag, …, name at byte 64.
fn program(info: &[u8; 256]) -> String {
    let tag: String = info[8..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name: Vec<u8> = info[64..80]
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    format!(
        "program {} type {} tag {tag}",
        String::from_utf8_lossy(&name),
        word(info, 0)
    )
}

/// `struct bpf_map_info`: type, id, size of keys, of values, …, name at byte 24.
///
/// The map in which a steering says whose it is stays for as long as any of its programs.
fn owner(map: BorrowedFd<'_>, info: &[u8; 256]) -> Option<String> {
    let size = word(info, 12) as usize;
    let is_owner = info[24..40].starts_with(b"OWNER\0") && word(info, 8) == 4;
    let value = is_owner.then(|| bpf_value(map, 0, size).ok())??;
    // Numbers, then the name, filled up with zeros.
    let letters = value.iter().filter(|byte| byte.is_ascii_graphic());
    let name: String = letters.map(|byte| char::from(*byte)).collect();
    Some(format!("map OWNER of {name}"))
}

/// `struct bpf_link_info`: type, id, program id, then by type; a cgroup's id and attach type for type 3.
fn link(info: &[u8; 256], cgroups: &BTreeMap<u64, String>) -> String {
    match word(info, 0) {
        3 => {
            let id = u64::from_ne_bytes(info[16..24].try_into().expect("eight bytes"));
            let cgroup = cgroups.get(&id).map_or("(removed)", String::as_str);
            format!("link type 3 cgroup {cgroup} attach {}", word(info, 24))
        }
        kind => format!("link type {kind}"),
    }
}

/// The paths of all cgroups by their ids, which are the inode numbers of their directories.
fn cgroup_names() -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    let Some(root) = cgroup2_mount() else {
        return names;
    };
    let mut note = |path: &Path, name: &str| {
        names.extend(path.metadata().map(|it| (it.ino(), name.to_owned())));
    };
    note(&root, "/");
    tree::walk(&root, &root, &mut note);
    names
}

fn word(info: &[u8; 256], at: usize) -> u32 {
    u32::from_ne_bytes(info[at..at + 4].try_into().expect("four bytes"))
}
