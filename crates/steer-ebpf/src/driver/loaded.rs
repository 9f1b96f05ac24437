//! What is loaded for one namespace's objects.

use std::os::fd::OwnedFd;

use aya::maps::{Array, MapData};
use steer_core::instance::Instance;

use crate::abi::{Config, Inbound, Owner, Place, VERSION};
use crate::attach::Attached;
use crate::error::EbpfError;
use crate::filter::Filter;
use crate::load::{Programs, load};
use crate::maps::Maps;
use crate::object::{INBOUND, OUTBOUND, OWNER, PLACES, hook_of, hooks};

/// Programs and maps of a steering, and what is done with them.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The programs.
    pub(super) programs: Programs,
    /// The maps.
    pub(super) maps: Maps,
    /// Where the programs are.
    pub(super) attached: Vec<Attached>,
    /// What holds for what programs send; unknown after it was handed over.
    pub(super) outbound: Option<Filter<Config>>,
    /// What holds for what comes in.
    pub(super) inbound: Option<Filter<Inbound>>,
    /// The namespace's cookie and its place.
    pub(super) place: Option<(u64, Place)>,
    /// Whether a predecessor handed it over, whose attachments without links are not known.
    pub(super) adopted: bool,
}

impl Loaded {
    /// Loads everything; nothing is attached.
    pub(super) fn new(object: &[u8], instance: &Instance) -> Result<Self, EbpfError> {
        let (programs, maps) = load(object, instance)?;
        Ok(Self {
            programs,
            maps,
            ..Self::default()
        })
    }

    /// Whether everything is there that a change needs.
    pub(super) fn is_complete(&self) -> bool {
        let tables = [OUTBOUND, INBOUND].into_iter();
        let mut maps = tables
            .flat_map(|t| [t.config, t.active, t.ports, t.nets])
            .chain([OWNER, PLACES]);
        hooks().all(|hook| self.programs.contains_key(hook.program))
            && maps.all(|map| self.maps.has(map))
            && self.is_of_this_version()
    }

    /// Whether programs and maps are of the same contract as this side.
    fn is_of_this_version(&self) -> bool {
        let owner: Result<Array<MapData, Owner>, EbpfError> = self.maps.view(OWNER);
        owner.is_ok_and(|map| map.get(&0, 0).is_ok_and(|owner| owner.version == VERSION))
    }

    /// Whether it was put in force before, by this process or another one.
    pub(super) fn is_fresh(&self) -> bool {
        !self.adopted && self.outbound.is_none() && self.inbound.is_none()
    }

    /// Everything that is held, with its label.
    pub(super) fn parts(&self) -> Vec<(String, &OwnedFd)> {
        let maps = self.maps.iter().map(|(n, fd)| (format!("{MAP}{n}"), fd));
        let programs = self.programs.iter();
        let programs = programs.map(|(name, fd)| (format!("{PROGRAM}{name}"), fd));
        let links = self.attached.iter().filter_map(|attached| {
            let Attached {
                hook,
                path,
                id,
                link,
            } = attached;
            let label = format!("{LINK}{}:{id}:{path}", hook.program);
            Some((label, link.as_ref()?))
        });
        maps.chain(programs).chain(links).collect()
    }

    /// Takes over a part; what is not known is closed.
    pub(super) fn adopt(&mut self, label: &str, fd: OwnedFd) {
        self.adopted = true;
        if let Some(name) = label.strip_prefix(MAP) {
            self.maps.hold(name, fd);
        } else if let Some(hook) = label.strip_prefix(PROGRAM).and_then(hook_of) {
            self.programs.insert(hook.program, fd);
        } else if let Some(attached) = label.strip_prefix(LINK).and_then(|l| link(l, fd)) {
            self.attached.push(attached);
        }
    }
}

fn link(label: &str, fd: OwnedFd) -> Option<Attached> {
    let mut parts = label.splitn(3, ':');
    Some(Attached {
        hook: hook_of(parts.next()?)?,
        id: parts.next()?.parse().ok()?,
        path: parts.next()?.to_owned(),
        link: Some(fd),
    })
}

const MAP: &str = "map:";
const PROGRAM: &str = "program:";
const LINK: &str = "link:";
