//! Whose call it is: the process that makes it, not the one that made the socket.

use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_uid_gid};

use crate::abi::{Cgroups, Config, GENERATIONS, LIST, Names, Ranges};
use crate::maps::CONFIG;
use crate::process;

/// Whether the calling process is meant by the configuration of a generation.
#[inline(always)]
pub fn holds(generation: u32) -> bool {
    scope_holds(generation % GENERATIONS) != 0
}

/// A function of its own for the verifier, which proves it once and not once for each way to and
/// from each call; so it is when it is exported and has plain numbers alone (Linux 5.6 and later).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scope_holds(index: u32) -> u32 {
    CONFIG.get(index).is_some_and(is_meant).into()
}

#[inline(always)]
fn is_meant(config: &Config) -> bool {
    // SAFETY: takes nothing.
    let ids = unsafe { bpf_get_current_uid_gid() };
    let (uid, gid) = (ids as u32, (ids >> 32) as u32);
    (config.uid.count == 0 || within(&config.uid, uid))
        && !within(&config.except_uid, uid)
        && (config.gid.count == 0 || within(&config.gid, gid))
        && !within(&config.except_gid, gid)
        && names_hold(config)
        && (config.cgroup.count == 0 || is_below(&config.cgroup))
        && (config.except_cgroup.count == 0 || !is_below(&config.except_cgroup))
}

/// Whether a number is in one of some ranges.
#[inline(always)]
fn within(ranges: &Ranges, number: u32) -> bool {
    for i in 0..LIST {
        if i as u32 >= ranges.count {
            return false;
        }
        let [first, last] = ranges.ranges[i];
        if first <= number && number <= last {
            return true;
        }
    }
    false
}

#[inline(always)]
fn names_hold(config: &Config) -> bool {
    let (names, except) = (&config.command, &config.except_command);
    if names.count == 0 && except.count == 0 {
        return true;
    }
    let Some(name) = process::name() else {
        return false;
    };
    let name = halves(&name);
    (names.count == 0 || among(names, name)) && !among(except, name)
}

/// Whether a name is one of some.
#[inline(always)]
fn among(names: &Names, name: [u64; 2]) -> bool {
    for i in 0..LIST {
        if i as u32 >= names.count {
            return false;
        }
        if halves(&names.names[i]) == name {
            return true;
        }
    }
    false
}

/// A name as two numbers, which are compared at once.
#[inline(always)]
fn halves(name: &[u8; 16]) -> [u64; 2] {
    // SAFETY: sixteen bytes, of which every pattern is a value, wherever they lie.
    unsafe { name.as_ptr().cast::<[u64; 2]>().read_unaligned() }
}

/// Whether the process is in one of some cgroups, or below it.
#[inline(always)]
fn is_below(cgroups: &Cgroups) -> bool {
    for level in 0..DEPTH {
        // SAFETY: takes a number alone.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if id == 0 {
            return false;
        }
        for i in 0..LIST {
            if i as u32 >= cgroups.count {
                break;
            }
            if cgroups.ids[i] == id {
                return true;
            }
        }
    }
    false
}

/// How deep below the root of the hierarchy a cgroup is looked for.
const DEPTH: i32 = 24;
