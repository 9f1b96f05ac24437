//! Whose calls are meant.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lab::require;
use steer_ebpf::abi::{
    Cgroups, Config, DO_CLOSED, DO_HERE, DO_TAKE, DO_TCP, LIST, Names, PLACE_V4, Ranges,
    TOKENS_MOST,
};

use crate::bench::{Bench, config, host};

const FLAGS: u32 = DO_TAKE | DO_CLOSED | DO_TCP;
/// As another user and group, under another name.
const CONNECT: &str = "open('/proc/self/comm', 'w').write('meant')\n\
    os.setgroups([]); os.setgid(77); os.setuid(1234)\n\
    print(failing(lambda: opened(2).connect(('203.0.113.7', 443))))";

/// The last of as many as there can be, so that each of them is looked at.
fn ranges(first: u32, last: u32) -> Ranges {
    let mut ranges = [[5_000, 5_001]; LIST];
    ranges[LIST - 1] = [first, last];
    Ranges {
        count: LIST as u32,
        ranges,
    }
}

fn names(name: &str) -> Names {
    let mut names = [*b"somebody else\0\0\0"; LIST];
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    names[LIST - 1] = bytes;
    Names {
        count: LIST as u32,
        names,
    }
}

fn cgroups(id: u64) -> Cgroups {
    let mut ids = [u64::MAX; LIST];
    ids[LIST - 1] = id;
    Cgroups {
        ids,
        count: LIST as u32,
        unused: 0,
    }
}

#[test]
fn users_groups_names_and_cgroups_are_meant_or_left_out() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("scope", FLAGS, TOKENS_MOST);
    let id = |path| fs::metadata(path).expect("a cgroup").ino();
    let (inside, outside) = (id(bench.inside.path()), id(bench.outside.path()));
    type Set = fn(&mut Config, Ranges, Names, Cgroups);
    // A list that has the process, and one that has not.
    let has = (
        ranges(1_200, 1_234),
        ranges(77, 80),
        names("meant"),
        cgroups(inside),
    );
    let lacks = (
        ranges(1_235, 1_300),
        ranges(70, 76),
        names("mean"),
        cgroups(outside),
    );
    let of: [(&str, Set, Set); 4] = [
        ("uid", |c, r, _, _| c.uid = r, |c, r, _, _| c.except_uid = r),
        ("gid", |c, r, _, _| c.gid = r, |c, r, _, _| c.except_gid = r),
        (
            "command",
            |c, _, n, _| c.command = n,
            |c, _, n, _| c.except_command = n,
        ),
        (
            "cgroup",
            |c, _, _, g| c.cgroup = g,
            |c, _, _, g| c.except_cgroup = g,
        ),
    ];
    for (part, only, except) in of {
        for (lists, holds) in [(has, true), (lacks, false)] {
            let (uid, gid, names, cgroups) = lists;
            let ranges = if part == "gid" { gid } else { uid };
            for (set, is_taken) in [(only, holds), (except, !holds)] {
                let mut config = config(FLAGS);
                set(&mut config, ranges, names, cgroups);
                bench.configure(&config);
                let outcome = if is_taken { "ok" } else { "ENETUNREACH" };
                assert_eq!(bench.run(CONNECT).trim(), outcome, "{part}, in it: {holds}");
            }
        }
    }
}

#[test]
fn who_is_below_a_cgroup_is_in_it() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("below", FLAGS, TOKENS_MOST);
    // The root of the hierarchy.
    let parent = bench.inside.path().parent().expect("a parent");
    let mut config = config(FLAGS);
    config.cgroup = cgroups(fs::metadata(parent).expect("a cgroup").ino());
    bench.configure(&config);
    assert_eq!(bench.run(CONNECT).trim(), "ok");
    config.except_cgroup = config.cgroup;
    bench.configure(&config);
    assert_eq!(bench.run(CONNECT).trim(), "ENETUNREACH");
}

#[test]
fn sockets_of_other_namespaces_are_left_alone_where_one_is_meant() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("here", FLAGS, TOKENS_MOST);
    let other = host(&bench.lab, "other");
    let mut config = config(FLAGS | DO_HERE);
    config.netns = bench.cookie(&bench.host);
    // It has a place, so that only the flag can be why.
    let elsewhere = bench.cookie(&other);
    bench.place(elsewhere, PLACE_V4);
    bench.configure(&config);
    assert_eq!(bench.run(CONNECT).trim(), "ok");
    let said = bench.run_at(&other, CONNECT).expect_success();
    assert_eq!(said.trim(), "ENETUNREACH");
    config.flags = FLAGS;
    bench.configure(&config);
    let said = bench.run_at(&other, CONNECT).expect_success();
    assert_eq!(said.trim(), "ECONNREFUSED", "no engine listens there");
}
