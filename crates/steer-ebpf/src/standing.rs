//! What stays attached to cgroups by itself and is ours: found by its programs, told apart by whose
//! name their maps bear.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;

use aya::maps::{Array, Map, MapData, MapError, MapInfo};
use aya::programs::links::LinkError;
use aya::programs::{ProgramError, ProgramFd, ProgramInfo, loaded_links, loaded_programs};
use nix::errno::Errno;
use steer_core::instance::Instance;
use steer_kernel::cgroup::{Cgroup, CgroupTree};

use crate::abi::Owner;
use crate::attach::take_off;
use crate::error::EbpfError;
use crate::object::{AT_CGROUPS, Hook, OWNER, hooks};
use crate::sys;

/// A program of ours in the kernel that no link attaches.
#[derive(Debug)]
struct Ours {
    fd: ProgramFd,
    instance: Instance,
}

/// Programs of ours at a cgroup.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Whose.
    pub(crate) instance: Instance,
    /// The cgroup.
    pub(crate) path: String,
    cgroup: Cgroup,
    programs: Vec<(Hook, u32)>,
}

/// All that is in the kernel of ours and stays by itself.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    ours: BTreeMap<u32, Ours>,
}

impl Survey {
    /// Looks for programs of ours, leaving out those with the ids of `except`.
    ///
    /// # Errors
    /// It needs CAP_SYS_ADMIN.
    pub(crate) fn new(except: &BTreeSet<u32>) -> Result<Self, EbpfError> {
        let mut ours = BTreeMap::new();
        for info in loaded_programs() {
            let info = match info {
                Ok(info) => info,
                Err(ProgramError::SyscallError(error)) if gone(&error.io_error) => continue,
                Err(error) => return Err(unlisted(error)),
            };
            if except.contains(&info.id()) || !is_named(&info) {
                continue;
            }
            // Gone meanwhile, or of somebody else.
            let (Some(instance), Ok(fd)) = (owner(&info), info.fd()) else {
                continue;
            };
            ours.insert(info.id(), Ours { fd, instance });
        }
        if !ours.is_empty() {
            for link in loaded_links() {
                match link {
                    Ok(link) => drop(ours.remove(&link.program_id())),
                    Err(LinkError::SyscallError(error)) if !gone(&error.io_error) => {
                        return Err(EbpfError::List {
                            source: error.io_error,
                        });
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(Self { ours })
    }

    /// Leaves only what is of an instance.
    pub(crate) fn of(mut self, instance: &Instance) -> Self {
        self.ours.retain(|_, ours| ours.instance == *instance);
        self
    }

    /// Where they are attached, on every cgroup that is visible.
    pub(crate) fn standing(&self, tree: &CgroupTree) -> Result<Vec<Standing>, EbpfError> {
        if self.ours.is_empty() {
            return Ok(Vec::new());
        }
        let mut paths = tree.find("")?;
        paths.insert(0, String::new());
        let mut all = Vec::new();
        for path in paths {
            match tree.cgroup(&path) {
                Ok(cgroup) => all.extend(self.at(cgroup)?),
                // Cgroups come and go while we look.
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(all)
    }

    /// What is attached to a cgroup, by instance.
    fn at(&self, cgroup: Cgroup) -> Result<Option<Standing>, EbpfError> {
        let mut found: Option<(Instance, Vec<(Hook, u32)>)> = None;
        for hook in AT_CGROUPS {
            let ids = match sys::attached(cgroup.as_fd(), hook.kind) {
                Ok(ids) => ids,
                // A kernel without the place has nothing there; a cgroup that goes neither.
                Err(error)
                    if gone(&error)
                        || error.raw_os_error() == Some(Errno::EINVAL as i32)
                        || error.raw_os_error() == Some(Errno::ENODEV as i32) =>
                {
                    continue;
                }
                Err(source) => return Err(EbpfError::List { source }),
            };
            for id in ids {
                if let Some(Ours { instance, .. }) = self.ours.get(&id) {
                    let (_, programs) = found.get_or_insert_with(|| (instance.clone(), Vec::new()));
                    programs.push((hook, id));
                }
            }
        }
        Ok(found.map(|(instance, programs)| Standing {
            instance,
            path: cgroup.path().to_owned(),
            cgroup,
            programs,
        }))
    }

    /// Detaches what was found.
    pub(crate) fn detach(&self, standing: &Standing) -> Result<(), EbpfError> {
        for (hook, id) in &standing.programs {
            if let Some(ours) = self.ours.get(id) {
                take_off(*hook, &standing.cgroup, ours.fd.as_fd())?;
            }
        }
        Ok(())
    }
}

/// Whether a program has a name of ours, of which the kernel keeps 15 bytes.
fn is_named(info: &ProgramInfo) -> bool {
    let name = info.name();
    !name.is_empty() && hooks().any(|hook| hook.program.as_bytes().starts_with(name))
}

/// Whose a program is, where it is ours.
fn owner(info: &ProgramInfo) -> Option<Instance> {
    for id in info.map_ids().ok()?? {
        let Ok(map) = MapInfo::from_id(id) else {
            continue;
        };
        if map.name() != OWNER.as_bytes() {
            continue;
        }
        let owner = MapData::from_id(id)
            .and_then(Map::from_map_data)
            .and_then(Array::<MapData, Owner>::try_from)
            .and_then(|map| map.get(&0, 0));
        return instance(&owner.ok()?);
    }
    None
}

fn instance(owner: &Owner) -> Option<Instance> {
    let name = owner.instance.get(..owner.length as usize)?;
    Instance::new(std::str::from_utf8(name).ok()?).ok()
}

fn unlisted(error: ProgramError) -> EbpfError {
    match error {
        ProgramError::SyscallError(error) => EbpfError::List {
            source: error.io_error,
        },
        ProgramError::MapError(MapError::SyscallError(error)) => EbpfError::List {
            source: error.io_error,
        },
        other => EbpfError::Object(other.into()),
    }
}

fn gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}
