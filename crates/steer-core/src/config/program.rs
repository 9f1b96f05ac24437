//! Programs: by the names, ids and cgroups of their processes, and by their files.

use super::document::Node;
use super::fault::Fault;
use super::report::Report;
use super::value;
use crate::policy::ExePattern;

/// Why a text means no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// More than the kernel keeps of a name.
    #[error("{0:?} is longer than the 15 bytes that the kernel keeps of a process's name")]
    Long(String),
    /// The path of a file, where a process's name is asked for.
    #[error("{0:?} is a path, and no process has one as its name")]
    Path(String),
    /// A pattern, where names are compared as they stand.
    #[error("{0:?} is a pattern, and the names of processes are compared as they stand")]
    Pattern(String),
    /// Nothing that a process is called.
    #[error("{0:?} is not the name of a process")]
    Name(String),
    /// No id of a process.
    #[error("{0:?} is not the id of a process")]
    Id(String),
}

impl ProgramError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Long(name) => format!("write its beginning, `{}`", kept(name)),
            Self::Path(path) => format!(
                "write the name in /proc/PID/comm, most likely `{}`",
                kept(path.rsplit('/').next().unwrap_or_default())
            ),
            Self::Pattern(_) => {
                "write every name in full, as /proc/PID/comm has them; the `exe` of a rule's \
                 match can have stars"
                    .to_owned()
            }
            Self::Name(_) => {
                "write a name as /proc/PID/comm has it, `curl` for instance".to_owned()
            }
            Self::Id(_) => {
                "write the number of one running process, or a list of them; what they start is \
                 meant as well"
                    .to_owned()
            }
        }
    }
}

/// The name of a process, as `/proc/PID/comm` has it.
pub(super) fn command(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let given = value::text(node, key, "the name of a process", report)?;
    let name = given.to_owned();
    let error = if given.starts_with('/') && given.len() > 1 && !given.ends_with('/') {
        ProgramError::Path(name)
    } else if given.contains('*') {
        ProgramError::Pattern(name)
    } else if given.is_empty() || given.contains(char::is_control) {
        ProgramError::Name(name)
    } else if given.len() > COMM_MAX {
        ProgramError::Long(name)
    } else {
        return Some(name);
    };
    report.none(&node.span, error)
}

/// The id of a process.
pub(super) fn pid(node: &Node, key: &str, report: &mut Report<'_>) -> Option<u32> {
    let given = value::text(node, key, "the id of a process", report)?;
    let digits = given.bytes().all(|byte| byte.is_ascii_digit());
    let id = given.parse().ok().filter(|id| digits && IDS.contains(id));
    id.or_else(|| report.none(&node.span, ProgramError::Id(given.to_owned())))
}

/// A program file, or a pattern of some.
pub(super) fn exe(node: &Node, key: &str, report: &mut Report<'_>) -> Option<ExePattern> {
    value::parsed(
        node,
        key,
        "the path or name of a program file",
        Fault::Exe,
        report,
    )
}

/// A path below the root of the unified hierarchy, without slashes at its ends, or a unit's name.
pub(super) fn cgroup(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let given = value::text(node, key, "the path of a cgroup", report)?;
    let path = given.trim_matches('/');
    let part_ok = |part: &str| {
        !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains(char::is_control)
    };
    let mounted = path == "sys/fs/cgroup" || path.starts_with("sys/fs/cgroup/");
    if mounted || !path.split('/').all(part_ok) {
        return report.none(&node.span, Fault::Cgroup(given.to_owned()));
    }
    Some(path.to_owned())
}

/// What the kernel keeps of a name.
fn kept(name: &str) -> &str {
    &name[..name.floor_char_boundary(COMM_MAX)]
}

/// Bytes of a process's name (`TASK_COMM_LEN` without the zero at its end).
const COMM_MAX: usize = 15;

/// Ids that processes can have: the kernel's `PID_MAX_LIMIT` is 2^22.
const IDS: std::ops::Range<u32> = 1..1 << 22;
