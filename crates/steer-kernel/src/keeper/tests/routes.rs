//! Marks, routes and rules: whose they are, and who may have them.

use steer_core::object::{Leads, PolicyRule, Route};
use steer_core::symbol::{MarkRef, Slot, TableRef};

use super::*;

/// A job whose packets carry the mark of a slot, in a namespace.
fn marking(name: &str, slot: u8, netns: &Netns) -> Job {
    let slot = Slot::numbered(slot);
    let table = TableRef::Fixed(slot.table());
    let planned = |object| Planned {
        netns: netns.clone(),
        life: Life::Support,
        object,
    };
    let objects = Family::ALL.into_iter().flat_map(|family| {
        let rule = PolicyRule {
            family,
            mark: MarkRef::Fixed(slot.mark),
            interface: Some("lo".to_owned()),
            table,
        };
        [
            planned(Object::Route(Route {
                family,
                net: None,
                table,
                to: Leads::Here,
            })),
            planned(Object::Rule(rule)),
        ]
    });
    let uid = u32::try_from(name.len()).unwrap();
    let mut job = job(name, uid, OnFailure::Open);
    job.objects = objects.collect();
    job.bindings.slot = Some(slot);
    job
}

fn there() -> Netns {
    Netns::Path("/run/netns/there".to_owned())
}

#[test]
fn slots_in_force_are_told_for_the_namespace_that_is_asked_about() {
    let world = World::new();
    let (mut here, mut inside) = (world.keeper(), world.keeper());
    here.commit(&marking("a", 0, &Netns::Here)).unwrap();
    inside.commit(&marking("bb", 2, &there())).unwrap();
    let mut next = world.keeper();
    assert_eq!(next.slots_taken(&[Netns::Here]).unwrap(), [0]);
    assert_eq!(next.slots_taken(&[there()]).unwrap(), [2]);
    assert_eq!(next.slots_taken(&[Netns::Here, there()]).unwrap(), [0, 2]);
    inside.release().unwrap();
    assert_eq!(next.slots_taken(&[there()]).unwrap(), [0; 0]);
    world.kill_journal();
    assert_eq!(next.slots_taken(&[Netns::Here]).unwrap(), [0; 0]);
}

#[test]
fn a_mark_that_is_in_use_in_the_namespace_is_refused_and_nothing_is_changed() {
    let world = World::new();
    let mut first = world.keeper();
    first.commit(&marking("a", 1, &there())).unwrap();
    let before = world.host.state();
    let mut same = marking("bb", 1, &there());
    let error = world.keeper().commit(&same).unwrap_err();
    let KeeperError::Marked { instance, mark, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((instance.as_str(), *mark), ("a", Slot::numbered(1).mark));
    // Another table, and a mark that is part of the first one's.
    same = marking("bb", 2, &there());
    same.bindings.slot.as_mut().unwrap().mark.mask = 0x8000_0000;
    same.bindings.slot.as_mut().unwrap().mark.value = 0x8000_0000;
    let error = world.keeper().commit(&same).unwrap_err();
    assert!(matches!(error, KeeperError::Marked { .. }), "{error}");
    assert_eq!(world.host.state(), before);
    assert_eq!(world.dir().read().unwrap().len(), 1);
    world
        .keeper()
        .commit(&marking("bb", 1, &Netns::Here))
        .unwrap();
    world.keeper().commit(&marking("ccc", 2, &there())).unwrap();
}

#[test]
fn clean_leaves_the_rules_of_a_living_instance_and_takes_those_of_dead_ones() {
    let world = World::new();
    let mut living = world.keeper();
    living.commit(&marking("a", 0, &there())).unwrap();
    let spared = world.host.state();
    // One without a journal, one with, and one with the numbers of the living one elsewhere.
    let drivers = || world.host.drivers();
    let lost = marking("lost", 1, &there());
    drivers()
        .set_all(lost.instance(), &[], &lost.objects)
        .unwrap();
    let here = marking("here", 0, &Netns::Here);
    drivers()
        .set_all(here.instance(), &[], &here.objects)
        .unwrap();
    let mut dead = world.keeper();
    dead.commit(&marking("bb", 2, &there())).unwrap();
    let gone = ProcessId {
        pid: process::this().pid,
        started: 1,
    };
    let journal = world.dir().read().unwrap().remove(1).journal.unwrap();
    world
        .dir()
        .write(&Journal {
            engine: gone,
            keeper: gone,
            ..journal
        })
        .unwrap();

    let cleaned = clean(&mut drivers(), &world.dir(), Reach::Dead).unwrap();
    assert!(cleaned.failures.is_empty(), "{:?}", cleaned.failures);
    assert_eq!(cleaned.removed.len(), 12);
    assert!(cleaned.removed.iter().all(|found| found.instance.is_none()));
    assert_eq!(cleaned.journals, [Instance::new("bb").unwrap()]);
    assert_eq!(world.host.state(), spared);
}

#[test]
fn a_namespace_that_leads_elsewhere_by_now_is_not_taken_for_the_dead_one_s() {
    let world = World::new();
    let mut first = world.keeper();
    first.commit(&marking("a", 0, &there())).unwrap();
    std::mem::forget(first);
    world.kill_journal();
    // In memory a path is the namespace's identity: this one was another.
    let mut journal = world.journal();
    for id in journal.namespaces.values_mut() {
        "4:1".clone_into(id);
    }
    world.dir().write(&journal).unwrap();
    let stands = world.host.state();
    let cleaned = clean(&mut world.host.drivers(), &world.dir(), Reach::Dead).unwrap();
    assert!(cleaned.removed.is_empty(), "{:?}", cleaned.removed);
    assert_eq!(cleaned.journals.len(), 1);
    assert_eq!(world.host.state(), stands);
}
