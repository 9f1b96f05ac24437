//! What stands, for how long, and who takes it over.

use std::fs;

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData};
use aya::programs::{CgroupAttachMode, CgroupSockAddr, loaded_links};
use aya::{Ebpf, include_bytes_aligned};
use lab::require;
use steer_core::address::{Cidr, PortRange};
use steer_core::driver::Driver;
use steer_core::intent::OnFailure;
use steer_core::object::{Lookup, Object};
use steer_core::ruleset::Role;
use steer_core::symbol::PortRef;
use steer_ebpf::abi::NetKey;
use steer_ebpf::driver::EbpfDriver;

use crate::stage::{Stage, objects};

/// How many programs a cgroup gets.
const AT_CGROUP: usize = 12;

#[test]
fn what_was_set_and_unset_leaves_nothing_in_the_kernel() {
    require!(Root);
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let stage = Stage::new("identity");
        let mut driver = EbpfDriver::new();
        let to = objects(stage.hooks(on_failure));
        stage.set(&mut driver, &[], &to).unwrap();
        let held = stage.held();
        let links = match on_failure {
            OnFailure::Open => AT_CGROUP,
            OnFailure::Closed => 0,
        };
        assert_eq!(held.links.len(), links);
        stage.set(&mut driver, &to, &to).unwrap();
        assert_eq!(stage.held(), held, "once more is no change");
        // As the engine does.
        let held_by_engine = driver.lifelines().unwrap();
        stage.set(&mut driver, &to, &[]).unwrap();
        assert!(stage.found().is_empty());
        drop(held_by_engine);
        stage.all_gone(&held);
    }
}

#[test]
fn open_hooks_are_gone_with_their_last_holder() {
    require!(Root);
    let stage = Stage::new("open");
    let mut driver = EbpfDriver::new();
    let to = objects(stage.hooks(OnFailure::Open));
    stage.set(&mut driver, &[], &to).unwrap();
    let held = stage.held();
    let parked = driver.lifelines().unwrap();
    drop(driver);
    assert_eq!(stage.held(), held, "the engine holds them too");
    // A successor goes on with them, and can end them.
    let mut next = EbpfDriver::new();
    parked.into_iter().for_each(|line| next.adopt(line));
    let mut retired = to.clone();
    retired
        .iter_mut()
        .for_each(|object| *object = object.retired());
    stage.set(&mut next, &to, &retired).unwrap();
    assert_eq!(stage.held(), held);
    drop(next);
    stage.all_gone(&held);
}

#[test]
fn closed_hooks_stay_are_found_replaced_and_removed() {
    require!(Root);
    let stage = Stage::new("closed");
    let to = objects(stage.hooks(OnFailure::Closed));
    let mut driver = EbpfDriver::new();
    stage.set(&mut driver, &[], &to).unwrap();
    drop(driver);
    let left = stage.held();
    let found = stage.found();
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(one.role, Some(Role::Guard));
    assert!(one.what.ends_with(stage.cgroup.name()), "{}", one.what);
    let mut next = EbpfDriver::new();
    stage.set(&mut next, &to, &to).unwrap();
    stage.all_gone_but_others(&left);
    drop(next);
    let held = stage.held();
    assert!(held.programs.is_disjoint(&left.programs));
    for found in stage.found() {
        EbpfDriver::new().remove(&found).unwrap();
        EbpfDriver::new().remove(&found).unwrap();
    }
    stage.all_gone(&held);
}

#[test]
fn a_successor_goes_on_with_closed_hooks_and_detaches_them() {
    require!(Root);
    let stage = Stage::new("handed");
    let to = objects(stage.hooks(OnFailure::Closed));
    let mut driver = EbpfDriver::new();
    stage.set(&mut driver, &[], &to).unwrap();
    let held = stage.held();
    let mut next = EbpfDriver::new();
    let parked = driver.lifelines().unwrap();
    parked.into_iter().for_each(|line| next.adopt(line));
    drop(driver);
    stage.set(&mut next, &to, &to).unwrap();
    assert_eq!((stage.held(), stage.found().len()), (held, 1));
    let held = stage.held();
    stage.set(&mut next, &to, &[]).unwrap();
    drop(next);
    stage.all_gone(&held);
}

#[test]
fn a_successor_without_descriptors_ends_what_closed_left() {
    require!(Root);
    let stage = Stage::new("undo");
    let to = objects(stage.hooks(OnFailure::Closed));
    stage.set(&mut EbpfDriver::new(), &[], &to).unwrap();
    let held = stage.held();
    stage.set(&mut EbpfDriver::new(), &to, &[]).unwrap();
    stage.all_gone(&held);
}

#[test]
fn closed_and_open_follow_each_other_in_place() {
    require!(Root);
    let stage = Stage::new("turns");
    let mut driver = EbpfDriver::new();
    let [open, closed] =
        [OnFailure::Open, OnFailure::Closed].map(|on_failure| objects(stage.hooks(on_failure)));
    stage.set(&mut driver, &[], &open).unwrap();
    let programs = stage.held().programs;
    stage.set(&mut driver, &open, &closed).unwrap();
    assert_eq!(stage.found().len(), 1);
    stage.set(&mut driver, &closed, &open).unwrap();
    assert!(stage.found().is_empty());
    let held = stage.held();
    assert_eq!((held.links.len(), &held.programs), (AT_CGROUP, &programs));
    stage.set(&mut driver, &open, &[]).unwrap();
    stage.all_gone(&held);
}

#[test]
fn other_peoples_programs_stay() {
    require!(Root);
    let stage = Stage::new("others");
    let object = include_bytes_aligned!("../../object/steer.o");
    let mut theirs = Ebpf::load(object).unwrap();
    let program: &mut CgroupSockAddr = theirs
        .program_mut("take_connect4")
        .unwrap()
        .try_into()
        .unwrap();
    program.load().unwrap();
    let cgroup = fs::File::open(stage.cgroup.path()).unwrap();
    let mode = CgroupAttachMode::Single;
    program.attach(cgroup, mode).unwrap();
    let id = program.info().unwrap().id();
    let stands = || {
        let mut links = loaded_links().flatten();
        links.any(|link| link.program_id() == id)
    };
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let to = objects(stage.hooks(on_failure));
        let mut driver = EbpfDriver::new();
        stage.set(&mut driver, &[], &to).unwrap();
        assert!(stands());
        stage.set(&mut driver, &to, &[]).unwrap();
        assert!(stands());
    }
}

#[test]
fn a_cgroup_that_is_made_anew_is_hooked_again() {
    require!(Root);
    let stage = Stage::new("anew");
    let name = format!("{}/unit", stage.cgroup.name());
    let path = stage.cgroup.path().join("unit");
    fs::create_dir(&path).unwrap();
    let to = objects(stage.hooks_at(&name, OnFailure::Closed));
    let mut driver = EbpfDriver::new();
    stage.set(&mut driver, &[], &to).unwrap();
    fs::remove_dir(&path).unwrap();
    stage.set(&mut driver, &to, &to).unwrap();
    assert!(stage.found().is_empty());
    fs::create_dir(&path).unwrap();
    stage.set(&mut driver, &to, &to).unwrap();
    assert_eq!(stage.found().len(), 1);
    let held = stage.held();
    stage.set(&mut driver, &to, &[]).unwrap();
    stage.all_gone(&held);
}

#[test]
fn fifty_thousand_networks_are_swapped_in_place() {
    require!(Root);
    let stage = Stage::new("networks");
    let mut driver = EbpfDriver::new();
    let nets = |first: u32| -> Vec<Cidr> {
        let hosts = (0..50_000_u32).map(|n| std::net::Ipv4Addr::from(first + 2 * n));
        hosts.map(|ip| Cidr::host(ip.into())).collect()
    };
    let with = |first| {
        let mut hooks = stage.hooks(OnFailure::Open);
        hooks.traffic.exclude.cidrs = nets(first);
        objects(hooks)
    };
    let (before, after) = (with(0x0a00_0000), with(0x0b00_0001));
    stage.set(&mut driver, &[], &before).unwrap();
    let held = stage.held();
    let look = |driver: &EbpfDriver| {
        let mut generations = std::collections::BTreeMap::<[u8; 4], usize>::new();
        let map = map(driver, "NETS");
        let trie: LpmTrie<MapData, [u8; size_of::<NetKey>()], u32> = map.try_into().unwrap();
        for key in trie.keys() {
            let data = key.unwrap().data();
            *generations
                .entry([data[0], data[1], data[2], data[3]])
                .or_default() += 1;
        }
        let active: Array<MapData, u32> = map_of(driver, "ACTIVE");
        (active.get(&0, 0).unwrap(), generations)
    };
    let (first, generations) = look(&driver);
    assert_eq!(generations, [(first.to_be_bytes(), 50_000)].into());
    stage.set(&mut driver, &before, &after).unwrap();
    let (second, generations) = look(&driver);
    assert_ne!(first, second);
    assert_eq!(generations, [(second.to_be_bytes(), 50_000)].into());
    assert_eq!(stage.held(), held, "nothing was attached or loaded again");
    stage.set(&mut driver, &after, &[]).unwrap();
    stage.all_gone(&held);
}

#[test]
fn places_of_other_namespaces_are_let_alone() {
    require!(Root);
    let stage = Stage::new("places");
    let mut driver = EbpfDriver::new();
    let mut hooks = stage.hooks(OnFailure::Open);
    let before = objects(hooks.clone());
    stage.set(&mut driver, &[], &before).unwrap();
    let places = |driver: &EbpfDriver| -> HashMap<MapData, u64, [u16; 8]> {
        map(driver, "PLACES").try_into().unwrap()
    };
    let other = [7; 8];
    places(&driver).insert(1, other, 0).unwrap();
    hooks.entrances[0].port = PortRef::Fixed(15002);
    let after = objects(hooks);
    stage.set(&mut driver, &before, &after).unwrap();
    let all: Vec<(u64, [u16; 8])> = places(&driver).iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), 2, "{all:?}");
    for (netns, place) in all {
        match netns {
            1 => assert_eq!(place, other),
            _ => assert_eq!(place[0], 15002),
        }
    }
    stage.set(&mut driver, &after, &[]).unwrap();
}

#[test]
fn a_lookup_hangs_on_its_namespace_by_a_link() {
    require!(Root);
    let stage = Stage::new("lookup");
    let mut driver = EbpfDriver::new();
    let to = vec![Object::Lookup(Lookup {
        ports: vec![PortRange::one(80).unwrap()],
        except: Vec::new(),
        from: Vec::new(),
        port: PortRef::Fixed(15006),
        families: Vec::new(),
        on_failure: OnFailure::Open,
        takes: true,
    })];
    stage.set(&mut driver, &[], &to).unwrap();
    let held = stage.held();
    assert_eq!(held.links.len(), 1);
    stage.set(&mut driver, &to, &to).unwrap();
    assert_eq!(stage.held(), held);
    stage.set(&mut driver, &to, &[]).unwrap();
    stage.all_gone(&held);
}

pub(crate) fn map(driver: &EbpfDriver, name: &str) -> Map {
    let shared = driver.shared().unwrap();
    let map = shared.into_iter().find(|s| s.label == name).unwrap();
    Map::from_map_data(MapData::from_fd(map.fd).unwrap()).unwrap()
}

fn map_of(driver: &EbpfDriver, name: &str) -> Array<MapData, u32> {
    map(driver, name).try_into().unwrap()
}
