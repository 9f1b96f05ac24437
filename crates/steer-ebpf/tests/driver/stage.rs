//! A cgroup, a namespace and a name for each test, and what is in the kernel under that name.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::{ProgramInfo, loaded_links, loaded_programs};
use lab::{Cgroup, Host, Lab};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError, Found};
use steer_core::instance::Instance;
use steer_core::intent::{OnFailure, Scope, Traffic};
use steer_core::mark::Mark;
use steer_core::object::{Carries, Entrance, Hooks, Object, Reach};
use steer_core::plan::Netns;
use steer_core::symbol::{CgroupRef, Followed, PortRef};
use steer_ebpf::driver::EbpfDriver;

/// Where a test plays.
pub(crate) struct Stage {
    pub(crate) cgroup: Cgroup,
    pub(crate) instance: Instance,
    pub(crate) netns: Netns,
    pub(crate) host: Host,
}

/// What the kernel has of an instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) programs: BTreeSet<u32>,
    pub(crate) links: BTreeSet<u32>,
    pub(crate) maps: BTreeSet<u32>,
}

impl Stage {
    pub(crate) fn new(label: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let host = Lab::new("ebpf").host("a");
        // 12 bytes at most, unique while this process lives.
        let name = format!("t{:x}x{number}", std::process::id());
        Self {
            cgroup: Cgroup::new(label),
            instance: Instance::new(&name).unwrap(),
            netns: Netns::Path(host.namespace_path().to_str().unwrap().to_owned()),
            host,
        }
    }

    /// Hooks on the test's cgroup.
    pub(crate) fn hooks(&self, on_failure: OnFailure) -> Hooks {
        self.hooks_at(self.cgroup.name(), on_failure)
    }

    pub(crate) fn hooks_at(&self, path: &str, on_failure: OnFailure) -> Hooks {
        Hooks {
            cgroups: vec![CgroupRef::Path(path.to_owned())],
            scope: Scope::default(),
            within: Vec::new(),
            traffic: Traffic::default(),
            names: Followed::new(),
            made_up: Vec::new(),
            reach: Reach::Here,
            families: Family::ALL.to_vec(),
            entrances: vec![Entrance {
                carries: Carries::Streams,
                port: PortRef::Fixed(15001),
                external: None,
            }],
            bypass: Mark::BYPASS,
            on_failure,
            takes: true,
        }
    }

    pub(crate) fn set(
        &self,
        driver: &mut EbpfDriver,
        from: &[Object],
        to: &[Object],
    ) -> Result<(), DriverError> {
        driver.set(&Change {
            instance: &self.instance,
            netns: &self.netns,
            from,
            to,
        })
    }

    /// What a driver finds of this test's instance.
    pub(crate) fn found(&self) -> Vec<Found> {
        let mut found = EbpfDriver::new().observe(&Netns::Here).unwrap();
        found.retain(|found| found.instance.as_ref() == Some(&self.instance));
        found
    }

    pub(crate) fn held(&self) -> Held {
        let mut held = Held::default();
        for info in loaded_programs().flatten() {
            let maps = info.map_ids().ok().flatten().unwrap_or_default();
            if self.owns(&maps) {
                held.programs.insert(info.id());
                held.maps.extend(maps);
            }
        }
        let links = loaded_links().flatten();
        let ours = links.filter(|link| held.programs.contains(&link.program_id()));
        held.links = ours.map(|link| link.id()).collect();
        held
    }

    fn owns(&self, maps: &[u32]) -> bool {
        let owner = |id: &u32| -> Option<[u8; 72]> {
            let info = MapInfo::from_id(*id).ok()?;
            let data = MapData::from_id(*id).ok()?;
            let map = Map::from_map_data(data).ok()?;
            let is_owner = info.name() == b"OWNER";
            let array: Array<MapData, [u8; 72]> = is_owner.then_some(map)?.try_into().ok()?;
            array.get(&0, 0).ok()
        };
        let name = self.instance.as_str().as_bytes();
        let mut owners = maps.iter().filter_map(owner);
        owners.any(|owner| owner[8..].starts_with(name) && owner[8 + name.len()] == 0)
    }

    /// Waits until nothing is left of what was held, nor anything else of this test's.
    pub(crate) fn all_gone(&self, held: &Held) {
        self.all_gone_but_others(held);
        assert_eq!(self.held(), Held::default());
    }

    /// Waits until nothing is left of what was held; the kernel frees it a moment later.
    pub(crate) fn all_gone_but_others(&self, held: &Held) {
        lab::eventually("programs, maps and links are gone", || {
            let programs = loaded_programs().flatten();
            let programs: BTreeSet<u32> = programs.map(|p: ProgramInfo| p.id()).collect();
            let maps = held.maps.iter().all(|id| MapInfo::from_id(*id).is_err());
            (programs.is_disjoint(&held.programs) && maps).then_some(())
        });
    }
}

pub(crate) fn objects(hooks: Hooks) -> Vec<Object> {
    vec![Object::Hooks(hooks)]
}
