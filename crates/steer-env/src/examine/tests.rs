use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn slips(path: &Path, args: &[&str]) -> Option<String> {
    let args: Vec<_> = args.iter().map(OsString::from).collect();
    examine(path, &args).err().map(|slips| slips.to_string())
}

/// A program file of this name, in a folder of its own.
fn program(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The smallest file that is an ELF program, and some text.
fn elf(text: &str) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file.extend(text.as_bytes());
    file
}

#[test]
fn programs_that_read_no_variable_are_told_with_the_reason() {
    for (path, args, why) in [
        ("/usr/bin/ssh", &["host"][..], "ProxyCommand"),
        ("/bin/nc", &["192.0.2.1", "7"], "reads no proxy variable"),
        ("/usr/bin/psql", &[], "PostgreSQL"),
        ("/usr/bin/openssl", &["s_client"], "-proxy"),
        ("/bin/busybox", &["telnet", "h"], "reads no proxy variable"),
        ("/usr/bin/dig", &[], "DNS"),
    ] {
        let told = slips(path.as_ref(), args).unwrap_or_default();
        assert!(told.contains(why), "{path}: {told}");
        assert!(told.contains("by the method env"), "{told}");
    }
}

#[test]
fn of_others_nothing_is_claimed() {
    for (path, args) in [
        ("/usr/bin/curl", &[][..]),
        ("/usr/bin/openssl", &["version"]),
        ("/bin/busybox", &["wget"]),
        ("/bin/busybox", &[]),
        ("/bin/sh", &["-c", "ssh host"]),
        ("/no/such/file", &[]),
    ] {
        assert_eq!(slips(path.as_ref(), args), None, "{path}");
    }
}

#[test]
fn a_link_is_what_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let target = program(&folder, "nc.openbsd", &elf(""));
    let link = folder.path().join("connect");
    symlink(target, &link).unwrap();
    assert!(slips(&link, &[]).is_some());
}

#[test]
fn a_script_is_judged_by_an_interpreter_that_knows_no_proxies_and_by_no_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let psql = program(&folder, "psql", &elf(""));
    let node = program(&folder, "node", &elf("NODE_OPTIONS"));
    for (interpreter, is_told) in [(&psql, true), (&node, false)] {
        let line = format!("#!{} -f\n", interpreter.display());
        let script = program(&folder, "script", line.as_bytes());
        assert_eq!(slips(&script, &[]).is_some(), is_told, "{line}");
    }
}

#[test]
fn a_node_that_knows_the_switch_passes_and_an_older_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    for (content, is_told) in [
        ("NODE_OPTIONS", true),
        ("NODE_OPTIONS and NODE_USE_ENV_PROXY", false),
        ("NODE_OPTIONS in libnode.so.108", false),
        ("another program of that name", false),
    ] {
        let node = program(&folder, "node", &elf(content));
        assert_eq!(slips(&node, &[]).is_some(), is_told, "{content}");
    }
}
