//! What can go wrong with programs in the kernel, by whose fault it is.

use std::io;

use aya::maps::MapError;
use nix::errno::Errno;
use steer_core::driver::DriverError;
use steer_core::object::Domain;
use steer_kernel::cgroup::CgroupError;

use crate::filter::FilterError;

/// Why hooks could not be put in force, or not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// The scope or the traffic asks for what the hooks cannot do.
    #[error("the hooks cannot be asked for this")]
    Filter(#[from] FilterError),
    /// The calling process may not do it.
    #[error("not allowed to {deed}")]
    NotAllowed {
        /// What was to be done.
        deed: &'static str,
        /// What forbids it, as far as can be told.
        by: Barrier,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel is older than a hook.
    #[error("this kernel has no place for the program {program}: Linux {since} has it")]
    Missing {
        /// The program.
        program: &'static str,
        /// The first kernel that has all it needs.
        since: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's verifier refuses a program.
    #[error("the kernel's verifier refuses the program {program}")]
    Refused {
        /// The program.
        program: String,
        /// What it says.
        source: Verdict,
    },
    /// A cgroup cannot be used.
    #[error("could not hook a cgroup")]
    Cgroup(#[from] CgroupError),
    /// Somebody has a cgroup's place to themselves.
    #[error(
        "another program wants cgroup {cgroup:?}, or one above or below it, to itself: {program} cannot be attached beside it"
    )]
    Exclusive {
        /// The cgroup.
        cgroup: String,
        /// Our program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A cgroup has as many programs as the kernel allows.
    #[error("cgroup {cgroup:?} has no room for the program {program}")]
    Full {
        /// The cgroup.
        cgroup: String,
        /// Our program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program could not be attached or detached.
    #[error("could not {deed} the program {program} at {place}")]
    Attach {
        /// What was to be done.
        deed: &'static str,
        /// The program.
        program: &'static str,
        /// The cgroup or namespace.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The network namespace cannot be reached.
    #[error("could not look at network namespace {place}")]
    Netns {
        /// Its path.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// What is loaded could not be listed.
    #[error("could not list the programs in the kernel")]
    List {
        /// Why.
        source: io::Error,
    },
    /// A map of ours could not be used.
    #[error("could not use the map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// The compiled object is not what this code expects.
    #[error("the compiled programs do not fit")]
    Object(#[source] aya::EbpfError),
    /// A part of the compiled object is not there.
    #[error("the compiled programs have no {name}")]
    Absent {
        /// What is missing.
        name: String,
    },
    /// The object is none of this driver's, or one too many.
    #[error("the driver of eBPF programs cannot make {what}")]
    Misplaced {
        /// The object.
        what: String,
    },
}

/// What the kernel's verifier says of a program: the last lines of its log.
#[derive(Debug, thiserror::Error)]
#[error("{log}")]
pub struct Verdict {
    /// The lines.
    pub log: String,
    /// What the system call said.
    pub source: io::Error,
}

/// What keeps a process from loading programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// A capability is missing.
    Capability,
    /// The kernel is locked down.
    Lockdown,
    /// Neither: a sandbox, as those of containers.
    Sandbox,
}

impl EbpfError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Filter(error) => error.help(),
            Self::NotAllowed { by, .. } => match by {
                Barrier::Capability => {
                    "run as root, or grant CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN"
                }
                Barrier::Lockdown => {
                    "the kernel is locked down for confidentiality: boot with \
                     lockdown=integrity, or take another method: steer methods"
                }
                Barrier::Sandbox => {
                    "a sandbox forbids bpf(2): allow it in the container's seccomp profile, or \
                     run steer on the host"
                }
            },
            Self::Missing { .. } => {
                "use a newer kernel, or take another method: steer doctor tells which can do it"
            }
            Self::Refused { .. } => {
                "this is a mistake in steer or a kernel that it does not know: please report it \
                 with the lines above and uname -r; redirect and tproxy need no such program"
            }
            Self::Cgroup(error) => error.help(),
            Self::Exclusive { .. } => "look who it is: bpftool cgroup tree",
            Self::Full { .. } => "a cgroup holds 64 programs: bpftool cgroup tree lists them",
            Self::Attach { .. } => "look at what is attached: bpftool cgroup tree; bpftool net",
            Self::Netns { .. } => {
                "look for it with ip netns list; entering needs CAP_SYS_ADMIN: run as root"
            }
            Self::List { .. } => "listing programs needs CAP_SYS_ADMIN: run as root",
            Self::Map { source, .. } => match errno(source) {
                Some(Errno::ENOMEM) => "free memory, or raise the limit of the cgroup",
                Some(Errno::ENOSPC | Errno::E2BIG) => "ask for fewer networks",
                _ => "look at the cause above",
            },
            Self::Object(_) | Self::Absent { .. } => {
                "rebuild the programs: cargo xtask ebpf; in a released build, please report this"
            }
            Self::Misplaced { .. } => {
                "this is a mistake in steer: please report it with the output of steer plan"
            }
        }
    }
}

impl From<EbpfError> for DriverError {
    fn from(error: EbpfError) -> Self {
        let help = error.help();
        Self::new(Domain::Ebpf, error.to_string(), help).because(error)
    }
}

/// The kernel's word on a map.
pub(crate) fn errno(error: &MapError) -> Option<Errno> {
    let io = match error {
        MapError::CreateError { io_error, .. } => io_error,
        MapError::SyscallError(error) => &error.io_error,
        MapError::IoError(error) => error,
        _ => return None,
    };
    io.raw_os_error().map(Errno::from_raw)
}
