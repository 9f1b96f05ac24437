//! Programs at cgroups: those of a steering, and what is found of ours.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use steer_core::intent::OnFailure;
use steer_kernel::cgroup::{Cgroup, CgroupTree};

use crate::error::EbpfError;
use crate::load::{Programs, not_allowed};
use crate::object::Hook;
use crate::sys;

/// A program of ours at a cgroup, or (the lookup) at a network namespace.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What is there.
    pub(crate) hook: Hook,
    /// The cgroup's path.
    pub(crate) path: String,
    /// Its id: another one of the same path is another cgroup.
    pub(crate) id: u64,
    /// What keeps it there; nothing where it stays by itself.
    pub(crate) link: Option<OwnedFd>,
}

/// A program that shall be at a cgroup.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// What shall be there.
    pub(crate) hook: Hook,
    /// Where.
    pub(crate) cgroup: &'a Cgroup,
    /// The cgroup's id.
    pub(crate) id: u64,
    /// Whether it shall stay when whoever holds it is gone.
    pub(crate) stays: OnFailure,
}

impl Wanted<'_> {
    /// Whether something attached is what is wanted, and stands.
    pub(crate) fn is(&self, attached: &Attached, programs: &Programs) -> bool {
        let Self {
            hook,
            cgroup,
            id,
            stays,
        } = self;
        let linked = *stays == OnFailure::Open;
        attached.hook == *hook
            && attached.id == *id
            && attached.path == cgroup.path()
            && attached.link.is_some() == linked
            && stands(*hook, cgroup, programs).unwrap_or(false)
    }

    /// Attaches it.
    pub(crate) fn attach(&self, programs: &Programs) -> Result<Attached, EbpfError> {
        let Self {
            hook,
            cgroup,
            id,
            stays,
        } = self;
        let program = program(*hook, programs)?;
        let done = match stays {
            OnFailure::Open => sys::link(cgroup.as_fd(), program, hook.kind).map(Some),
            OnFailure::Closed => match sys::attach(cgroup.as_fd(), program, hook.kind) {
                // The kernel takes a program once, and this one is there.
                Err(error) if is(&error, Errno::EINVAL) && there(*hook, cgroup, programs) => {
                    Ok(None)
                }
                done => done.map(|()| None),
            },
        };
        let link = done.map_err(|source| unattached(*hook, cgroup, source))?;
        Ok(Attached {
            hook: *hook,
            path: cgroup.path().to_owned(),
            id: *id,
            link,
        })
    }
}

impl Attached {
    /// Detaches it; gone with its cgroup is success.
    pub(crate) fn detach(&self, tree: &CgroupTree, programs: &Programs) -> Result<(), EbpfError> {
        let Self {
            hook,
            path,
            id,
            link,
        } = self;
        if let Some(link) = link {
            // Closing it is not enough: the engine holds a duplicate.
            return sys::unlink(link.as_fd()).map_err(|source| EbpfError::Attach {
                deed: "detach",
                program: hook.program,
                place: format!("cgroup /{path}"),
                source,
            });
        }
        let cgroup = match tree.cgroup(path) {
            Err(error) if error.is_gone() => return Ok(()),
            other => other?,
        };
        if cgroup.id()? != *id {
            return Ok(());
        }
        let program = program(*hook, programs)?;
        take_off(*hook, &cgroup, program).map(drop)
    }
}

/// Whether a program is attached to a cgroup, in either way.
pub(crate) fn stands(hook: Hook, cgroup: &Cgroup, programs: &Programs) -> Result<bool, EbpfError> {
    let program = program(hook, programs)?;
    let looked = sys::program_id(program).and_then(|id| {
        let ids = sys::attached(cgroup.as_fd(), hook.kind)?;
        Ok(ids.contains(&id))
    });
    looked.map_err(|source| EbpfError::Attach {
        deed: "look for",
        program: hook.program,
        place: place(cgroup),
        source,
    })
}

/// Detaches a program that stays by itself; `false` where it was not there.
pub(crate) fn take_off(
    hook: Hook,
    cgroup: &Cgroup,
    program: BorrowedFd<'_>,
) -> Result<bool, EbpfError> {
    let done = sys::detach(cgroup.as_fd(), program, hook.kind);
    done.map_err(|source| EbpfError::Attach {
        deed: "detach",
        program: hook.program,
        place: place(cgroup),
        source,
    })
}

/// The paths without those below another one of them: a program runs once for each process.
pub(crate) fn topmost<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let all: BTreeSet<&str> = paths.into_iter().collect();
    let below = |path: &str, other: &str| {
        path != other
            && (other.is_empty()
                || path
                    .strip_prefix(other)
                    .is_some_and(|rest| rest.starts_with('/')))
    };
    let covered = |path: &str| all.iter().any(|other| below(path, other));
    all.iter().copied().filter(|path| !covered(path)).collect()
}

/// A cgroup as people know it.
pub(crate) fn place(cgroup: &Cgroup) -> String {
    format!("cgroup /{}", cgroup.path())
}

/// A program by its hook.
pub(crate) fn program(hook: Hook, programs: &Programs) -> Result<BorrowedFd<'_>, EbpfError> {
    let program = programs.get(hook.program).map(AsFd::as_fd);
    program.ok_or_else(|| EbpfError::Absent {
        name: format!("program {}", hook.program),
    })
}

fn there(hook: Hook, cgroup: &Cgroup, programs: &Programs) -> bool {
    stands(hook, cgroup, programs).unwrap_or(false)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

fn unattached(hook: Hook, cgroup: &Cgroup, source: io::Error) -> EbpfError {
    let program = hook.program;
    let path = cgroup.path().to_owned();
    let others = sys::attached(cgroup.as_fd(), hook.kind);
    match source.raw_os_error().map(Errno::from_raw) {
        // Whoever may ask who is there may attach as well: it is not for want of a capability.
        Some(Errno::EPERM) if others.is_ok() => EbpfError::Exclusive {
            cgroup: path,
            program,
            source,
        },
        Some(Errno::EPERM) => not_allowed("attach programs to cgroups", source),
        Some(Errno::E2BIG) => EbpfError::Full {
            cgroup: path,
            program,
            source,
        },
        Some(Errno::EINVAL) if others.is_err() => EbpfError::Missing {
            program,
            since: hook.since,
            source,
        },
        _ => EbpfError::Attach {
            deed: "attach",
            program,
            place: place(cgroup),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::topmost;

    #[test]
    fn a_cgroup_below_another_one_that_is_hooked_gets_no_hook_of_its_own() {
        let all = ["a/b", "a", "ab", "c/d", "c/d/e", "c/d"];
        assert_eq!(topmost(all), ["a", "ab", "c/d"]);
        assert_eq!(topmost(["a", ""]), [""]);
        assert!(topmost([]).is_empty());
    }
}
