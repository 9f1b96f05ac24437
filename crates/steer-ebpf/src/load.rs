//! Programs and maps brought into the kernel, or an error that says what it has against them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::EbpfLoader;
use aya::maps::{Array, MapData};
use aya::programs::{Program, ProgramError};
use nix::errno::Errno;
use steer_core::instance::Instance;

use crate::abi::{Owner, VERSION};
use crate::btf::Layout;
use crate::error::{Barrier, EbpfError, Verdict, errno};
use crate::maps::{Maps, into_fd, on};
use crate::object::{Hook, OWNER, hooks};
use crate::sys;

/// Programs by name.
pub(crate) type Programs = BTreeMap<&'static str, OwnedFd>;

/// Loads every program of an object, and tags them with the instance.
///
/// Nothing runs before it is attached; all of it is gone with the descriptors.
///
/// # Errors
/// Nothing stays loaded.
pub(crate) fn load(object: &[u8], instance: &Instance) -> Result<(Programs, Maps), EbpfError> {
    let layout = Layout::of_this_kernel();
    load_with(object, instance, layout).or_else(|error| {
        let nothing = Layout::default();
        if layout == nothing {
            return Err(error);
        }
        // A kernel that is locked down may forbid to read its memory, and they do without.
        load_with(object, instance, nothing)
    })
}

fn load_with(
    object: &[u8],
    instance: &Instance,
    layout: Layout,
) -> Result<(Programs, Maps), EbpfError> {
    let Layout {
        group_leader,
        comm,
        mptcp,
    } = &layout;
    let mut ebpf = EbpfLoader::new()
        .override_global("TASK_GROUP_LEADER", group_leader, false)
        .override_global("TASK_COMM", comm, false)
        .override_global("HAS_MPTCP", mptcp, false)
        .load(object)
        .map_err(unloaded)?;
    let mut programs = Programs::new();
    for hook in hooks() {
        let absent = || EbpfError::Absent {
            name: format!("program {}", hook.program),
        };
        let program = ebpf.program_mut(hook.program).ok_or_else(absent)?;
        programs.insert(hook.program, verify(program, hook)?);
    }
    let mut maps = Maps::default();
    for (name, map) in ebpf.maps() {
        // Constants of the programs (`.rodata`) are theirs alone.
        if let Some(fd) = into_fd(map).filter(|_| !name.starts_with('.')) {
            maps.hold(name, fd.map_err(|source| EbpfError::List { source })?);
        }
    }
    own(&maps, &programs, instance)?;
    Ok((programs, maps))
}

/// Brings one program through the verifier.
fn verify(program: &mut Program, hook: Hook) -> Result<OwnedFd, EbpfError> {
    let loaded = match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    let fd = loaded.and_then(|()| Ok(program.fd()?.as_fd().try_clone_to_owned()?));
    fd.map_err(|error| refused(hook, error))
}

/// Writes whose the maps are, and has every program hold that, so that each tells by itself.
fn own(maps: &Maps, programs: &Programs, instance: &Instance) -> Result<(), EbpfError> {
    let name = instance.as_str().as_bytes();
    let mut owner = Owner {
        version: VERSION,
        length: u32::try_from(name.len()).expect("names of instances are short"),
        instance: [0; 64],
    };
    owner.instance[..name.len()].copy_from_slice(name);
    let mut map: Array<MapData, Owner> = maps.view(OWNER)?;
    on(OWNER, map.set(0, owner, 0))?;
    let tag = maps.fd(OWNER)?;
    for hook in hooks() {
        let program = programs.get(hook.program).expect("every hook was loaded");
        sys::bind(program.as_fd(), tag.as_fd()).map_err(|source| EbpfError::Missing {
            program: hook.program,
            since: "5.10",
            source,
        })?;
    }
    Ok(())
}

/// The kernel's answer to a program.
fn refused(hook: Hook, error: ProgramError) -> EbpfError {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = last_lines(&verifier_log.to_string());
            match io_error.raw_os_error().map(Errno::from_raw) {
                // The verifier has its own words for what some capability allows (CAP_PERFMON).
                Some(Errno::EPERM | Errno::EACCES)
                    if log.is_empty() || in_the_way() == Barrier::Capability =>
                {
                    not_allowed("load programs into the kernel", io_error)
                }
                Some(Errno::EINVAL | Errno::ENOTSUP) if log.is_empty() => EbpfError::Missing {
                    program: hook.program,
                    since: hook.since,
                    source: io_error,
                },
                _ => EbpfError::Refused {
                    program: hook.program.to_owned(),
                    source: Verdict {
                        log,
                        source: io_error,
                    },
                },
            }
        }
        other => EbpfError::Object(other.into()),
    }
}

/// The kernel's answer to the object as a whole, before any program.
fn unloaded(error: aya::EbpfError) -> EbpfError {
    if let aya::EbpfError::MapError(error) = &error
        && let Some(errno @ (Errno::EPERM | Errno::EACCES)) = errno(error)
    {
        return not_allowed("make maps in the kernel", errno.into());
    }
    EbpfError::Object(error)
}

/// An error of a call that needs privileges, with what is in the way.
pub(crate) fn not_allowed(deed: &'static str, source: io::Error) -> EbpfError {
    EbpfError::NotAllowed {
        deed,
        by: in_the_way(),
        source,
    }
}

fn in_the_way() -> Barrier {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    barrier(&status, &lockdown)
}

fn barrier(status: &str, lockdown: &str) -> Barrier {
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let has = |bit: u32| effective.is_none_or(|set| set & 1 << bit != 0);
    let few = has(CAP_BPF) && has(CAP_PERFMON) && has(CAP_NET_ADMIN);
    let enough = has(CAP_SYS_ADMIN) || few;
    if !enough {
        Barrier::Capability
    } else if lockdown.contains("[confidentiality]") {
        Barrier::Lockdown
    } else {
        Barrier::Sandbox
    }
}

/// The end of a verifier's log, where it says what is wrong; its statistics say nothing of that.
fn last_lines(log: &str) -> String {
    let told = |line: &&str| {
        let line = line.trim();
        let statistics = ["processed ", "verification time ", "stack depth "];
        !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<&str> = log.lines().filter(told).collect();
    let shown = &lines[lines.len().saturating_sub(LINES)..];
    shown
        .iter()
        .map(|line| format!("  {}", line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How much of a log is shown.
const LINES: usize = 12;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_without_statistics() {
        let log: String = (0..40).map(|n| format!("{n}: (b7) r0 = 0\n")).collect();
        let log = format!("{log}R1 type=ctx expected=fp\nprocessed 3 insns (limit 1000000)\n\n");
        let shown = last_lines(&log);
        assert_eq!(shown.lines().count(), LINES);
        assert_eq!(shown.lines().last(), Some("  R1 type=ctx expected=fp"));
        assert_eq!(last_lines(""), "");
    }

    #[test]
    fn the_barrier_is_the_first_that_is_in_the_way() {
        let status = |caps: u64| format!("Name:\tx\nCapEff:\t{caps:016x}\n");
        let [net, admin, bpf, perfmon] =
            [CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON].map(|bit| 1 << bit);
        let locked = "none integrity [confidentiality]\n";
        assert_eq!(barrier(&status(0), locked), Barrier::Capability);
        assert_eq!(barrier(&status(bpf), ""), Barrier::Capability);
        assert_eq!(barrier(&status(bpf | net), locked), Barrier::Capability);
        let few = bpf | net | perfmon;
        assert_eq!(barrier(&status(few), locked), Barrier::Lockdown);
        assert_eq!(
            barrier(&status(admin), "[none] integrity"),
            Barrier::Sandbox
        );
    }

    #[test]
    fn what_is_no_object_is_an_error_that_names_it() {
        let error = load(b"no ELF at all", &Instance::new("main").unwrap()).unwrap_err();
        assert!(matches!(error, EbpfError::Object(_)), "{error:?}");
        assert!(error.help().contains("rebuild"));
    }
}
