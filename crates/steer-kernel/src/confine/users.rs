//! Which users exist in the namespace: the same numbers as outside (user_namespaces(7)).

use std::fs;
use std::io;

use nix::unistd::{getegid, geteuid};

use crate::host::privilege;

/// Maps the users and groups of a process that has just made a user namespace.
///
/// The writer is in the namespace above: the process itself has no right there any more. Whoever
/// may take every user there (CAP_SETUID, CAP_SETGID, and CAP_SETFCAP for root) maps all of them;
/// anybody else maps itself alone, and must give up setgroups(2) for that.
pub(super) fn map(pid: u32) -> io::Result<()> {
    let own = |file: &str| fs::read_to_string(format!("/proc/self/{file}"));
    let (users, groups) = (own("uid_map")?, own("gid_map")?);
    let write = |file: &str, text: &str| fs::write(format!("/proc/{pid}/{file}"), text);
    if may_map_all() {
        let all = write("uid_map", &same(&users)).and_then(|()| write("gid_map", &same(&groups)));
        match all {
            Ok(()) => return Ok(()),
            // A security module may know better; what one has got, the other has to have.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    write("setgroups", "deny")?;
    write("uid_map", &one(geteuid().as_raw()))?;
    write("gid_map", &one(getegid().as_raw()))
}

fn may_map_all() -> bool {
    privilege::capabilities().is_some_and(|held| held & ALL == ALL)
}

/// Every user of a map under its own number.
fn same(map: &str) -> String {
    let mut lines = String::new();
    for line in map.lines() {
        let mut numbers = line.split_whitespace();
        if let (Some(first), Some(count)) = (numbers.next(), numbers.nth(1)) {
            lines.push_str(&format!("{first} {first} {count}\n"));
        }
    }
    lines
}

fn one(id: u32) -> String {
    format!("{id} {id} 1\n")
}

/// CAP_SETGID, CAP_SETUID and CAP_SETFCAP, capabilities(7).
const ALL: u64 = 1 << 6 | 1 << 7 | 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_the_namespace_above_keeps_its_numbers() {
        let whole = "         0          0 4294967295\n";
        assert_eq!(same(whole), "0 0 4294967295\n");
        let container = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(same(container), "0 0 1\n1 1 65536\n");
    }
}
