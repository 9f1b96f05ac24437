use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use steer_core::intent::{OnFailure, Scope};
use steer_core::journal::State;
use steer_core::keeper::Job;
use steer_core::method::Method;
use steer_core::symbol::Bindings;

use super::*;

fn journal(name: &str) -> Journal {
    Journal {
        job: Job {
            method: Method::Redirect,
            bindings: Bindings::new(Instance::new(name).unwrap()),
            on_failure: OnFailure::Open,
            scope: Scope::command(),
            objects: Vec::new(),
        },
        engine: process::this(),
        keeper: process::this(),
        netns: "4:1".to_owned(),
        namespaces: BTreeMap::new(),
        state: State::Engaged,
        failures: Vec::new(),
    }
}

fn fresh() -> (tempfile::TempDir, RunDir) {
    let outer = tempfile::tempdir().unwrap();
    let dir = RunDir::at(outer.path().join("run/steer"));
    (outer, dir)
}

#[test]
fn a_journal_is_read_as_it_was_written_and_the_last_one_takes_the_directory_along() {
    let (_outer, dir) = fresh();
    let written = journal("main");
    let lock = dir.lock().unwrap();
    dir.write(&written).unwrap();
    drop(lock);
    let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let entries = dir.read().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].journal.as_ref().unwrap(), &written);
    dir.remove(written.job.instance()).unwrap();
    assert!(!dir.path().exists());
}

#[test]
fn a_directory_with_another_journal_stays() {
    let (_outer, dir) = fresh();
    let lock = dir.lock().unwrap();
    dir.write(&journal("a")).unwrap();
    dir.write(&journal("b")).unwrap();
    drop(lock);
    dir.remove(&Instance::new("a").unwrap()).unwrap();
    let left: Vec<_> = dir
        .read()
        .unwrap()
        .into_iter()
        .map(|e| e.instance)
        .collect();
    assert_eq!(left, [Instance::new("b").unwrap()]);
}

#[test]
fn removing_what_is_not_there_is_fine() {
    let (_outer, dir) = fresh();
    dir.remove(&Instance::new("a").unwrap()).unwrap();
    assert!(!dir.path().exists());
}

#[test]
fn a_file_that_is_no_journal_is_told_with_its_reason() {
    let (_outer, dir) = fresh();
    let _lock = dir.lock().unwrap();
    fs::write(dir.path().join("main.json"), "{").unwrap();
    fs::write(dir.path().join("README"), "").unwrap();
    let entries = dir.read().unwrap();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].journal.is_err());
}

#[test]
fn one_holder_of_the_lock_at_a_time_even_when_the_directory_comes_and_goes() {
    let (_outer, dir) = fresh();
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lock = dir.lock().unwrap();
                    let before = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert_eq!(before, 0);
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert!(!dir.path().exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_that_names_it() {
    let error = RunDir::at("/proc/steer").lock().unwrap_err();
    assert!(error.to_string().contains("/proc/steer"), "{error}");
    assert!(error.help().contains("STEER_RUN_DIR"));
}

#[test]
fn a_directory_that_others_may_write_to_is_refused_and_told_what_to_do() {
    let (outer, _) = fresh();
    for mode in [0o777, 0o1777, 0o720] {
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(mode)).unwrap();
        let dir = RunDir::at(outer.path());
        for error in [dir.lock().map(drop), dir.read().map(drop)] {
            let error = error.unwrap_err();
            assert!(matches!(error, KeeperError::NotOurs { .. }), "{error}");
            assert!(
                error.to_string().contains(&format!("{mode:04o}")),
                "{error}"
            );
            assert!(error.help().contains("chmod go-w"), "{}", error.help());
        }
    }
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !lab::require(&[lab::Need::Root]) {
        return;
    }
    let (outer, _) = fresh();
    std::os::unix::fs::chown(outer.path(), Some(4242), None).unwrap();
    let error = RunDir::at(outer.path()).lock().unwrap_err();
    assert!(
        matches!(error, KeeperError::NotOurs { owner: 4242, .. }),
        "{error}"
    );
}

#[test]
fn a_directory_that_somebody_else_made_stays() {
    let (outer, _) = fresh();
    let dir = RunDir::at(outer.path());
    let lock = dir.lock().unwrap();
    dir.write(&journal("main")).unwrap();
    drop(lock);
    dir.remove(&Instance::new("main").unwrap()).unwrap();
    assert!(dir.read().unwrap().is_empty());
    assert!(outer.path().exists());
}
