//! A job in the place of the one that is in force, and jobs in several namespaces.

use super::*;

fn changed(job: &Job) -> Job {
    let mut next = job.clone();
    next.objects.truncate(2);
    next
}

#[test]
fn a_second_job_takes_the_place_of_the_first_and_is_undone_as_that() {
    let world = World::new();
    let mut keeper = world.keeper();
    let first = job("main", 7, OnFailure::Closed);
    keeper.commit(&first).unwrap();
    keeper.commit(&changed(&first)).unwrap();
    assert_eq!(world.journal().job, changed(&first));
    assert_eq!(world.journal().state, State::Engaged);
    assert_eq!(world.host.state().ours.len(), 2);
    keeper.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn a_second_job_that_fails_leaves_the_first_in_force_and_in_the_journal() {
    let world = World::new();
    let mut keeper = world.keeper();
    let first = job("main", 7, OnFailure::Closed);
    keeper.commit(&first).unwrap();
    let before = world.host.state();
    world.host.fail_at([1]);
    let error = keeper.commit(&changed(&first)).unwrap_err();
    assert!(matches!(error, KeeperError::Driver(_)), "{error}");
    assert_eq!(world.host.state(), before);
    assert_eq!(world.journal().job, first);
    let other = job("other", 8, OnFailure::Closed);
    let error = keeper.commit(&other).unwrap_err();
    assert!(matches!(error, KeeperError::Taken { .. }), "{error}");
    keeper.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn the_same_scope_in_two_namespaces_is_not_the_same_traffic() {
    let world = World::new();
    let inside = |name: &str, path: &str| {
        let mut job = job(name, 7, OnFailure::Open);
        for planned in &mut job.objects[1..] {
            planned.netns = Netns::Path(path.to_owned());
        }
        job
    };
    let (mut here, mut there) = (world.keeper(), world.keeper());
    here.commit(&job("a", 7, OnFailure::Open)).unwrap();
    there.commit(&inside("b", "/run/netns/x")).unwrap();
    let error = world
        .keeper()
        .commit(&inside("c", "/run/netns/x"))
        .unwrap_err();
    assert!(matches!(error, KeeperError::Overlap { .. }), "{error}");
    world.keeper().commit(&inside("d", "/run/netns/y")).unwrap();
}

#[test]
fn a_second_job_may_not_take_the_traffic_of_another_steering() {
    let world = World::new();
    let (mut mine, mut other) = (world.keeper(), world.keeper());
    let first = job("main", 7, OnFailure::Open);
    mine.commit(&first).unwrap();
    other.commit(&job("other", 8, OnFailure::Open)).unwrap();
    let before = world.host.state();
    let wider = job("main", 8, OnFailure::Open);
    let error = mine.commit(&wider).unwrap_err();
    assert!(matches!(error, KeeperError::Overlap { .. }), "{error}");
    assert_eq!(world.host.state(), before);
    mine.commit(&job("main", 9, OnFailure::Open)).unwrap();
    other.release().unwrap();
    mine.commit(&wider).unwrap();
    assert_eq!(world.journal().job, wider);
    mine.release().unwrap();
    assert!(world.is_untouched());
}

#[test]
fn a_crash_after_a_second_job_is_what_that_job_says() {
    for (first, then, left) in [
        (OnFailure::Open, OnFailure::Closed, true),
        (OnFailure::Closed, OnFailure::Open, false),
    ] {
        let world = World::new();
        let mut keeper = world.keeper();
        keeper.commit(&job("main", 7, first)).unwrap();
        keeper.commit(&job("main", 8, then)).unwrap();
        keeper.engine_gone().unwrap();
        assert_eq!(!world.host.state().ours.is_empty(), left);
    }
}
