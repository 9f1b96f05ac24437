use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use steer_core::policy::{Action, Condition, Rule};
use tempfile::TempDir;
use tokio::time::{advance, pause};

use super::*;

fn value(source: ValueSource) -> Value {
    Value {
        source,
        prefix: String::new(),
        suffix: String::new(),
    }
}

fn policy(values: &[&Value]) -> Policy {
    let mut rule = Rule::new("it", Condition::default(), Action::Direct);
    let named = |value: &&Value| ("authorization".to_owned(), Value::clone(value));
    rule.http.request.set = values.iter().map(named).collect();
    Policy {
        rules: vec![rule],
        ..Policy::default()
    }
}

fn prepared(value: &Value) -> Result<Values, ValueError> {
    Values::new(&policy(&[value]))
}

fn file(path: &Path) -> Value {
    value(ValueSource::File(path.to_owned()))
}

/// A program that does what a shell script says; `DIR` in it is the folder that it is in.
fn program(folder: &TempDir, script: &str, lifetime: Duration) -> Value {
    let path = folder.path().join("program");
    let script = script.replace("DIR", folder.path().to_str().unwrap());
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    value(ValueSource::Command {
        argv: vec![path.to_str().unwrap().to_owned(), "an argument".to_owned()],
        lifetime,
    })
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_value_stands_between_its_prefix_and_suffix() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "hush\n").unwrap();
    let value = Value {
        prefix: "Bearer ".to_owned(),
        suffix: "!".to_owned(),
        ..file(&path)
    };
    let values = prepared(&value).unwrap();
    assert_eq!(values.get(&value).await.unwrap(), "Bearer hush!");
}

#[tokio::test]
async fn a_file_is_read_again_as_soon_as_it_has_changed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "token-0").unwrap();
    let value = file(&path);
    let values = prepared(&value).unwrap();
    for round in 1..200 {
        // Of the same length, at once: its time alone could not tell.
        let text = format!("token-{}", round % 10);
        if round % 2 == 0 {
            fs::write(&path, &text).unwrap();
        } else {
            let other = folder.path().join("other");
            fs::write(&other, &text).unwrap();
            fs::rename(&other, &path).unwrap();
        }
        assert_eq!(values.get(&value).await.unwrap(), text);
    }
}

#[tokio::test]
async fn a_file_that_is_old_is_not_read_twice() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "hush").unwrap();
    let place = File::new(&path).unwrap();
    assert!(!place.is_remembered(), "it may change within the same tick");
    // A file that nobody has written to for long: one that came with the system.
    let old = ["/etc/hostname", "/etc/machine-id", "/etc/timezone"];
    let mut tried = 0;
    for path in old.map(Path::new) {
        if let Ok(place) = File::new(path) {
            tried += 1;
            assert!(place.is_remembered(), "{path:?}");
            let (first, second) = (place.get().await.unwrap(), place.get().await.unwrap());
            assert_eq!(first.into_bytes().as_ptr(), second.into_bytes().as_ptr());
        }
    }
    assert!(tried > 0);
}

#[tokio::test]
async fn a_file_that_vanished_has_no_value() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "hush").unwrap();
    let value = file(&path);
    let values = prepared(&value).unwrap();
    fs::remove_file(&path).unwrap();
    let error = values.get(&value).await.unwrap_err();
    assert!(matches!(error, ValueError::Read { .. }), "{error}");
    fs::write(&path, "back").unwrap();
    assert_eq!(values.get(&value).await.unwrap(), "back");
}

#[tokio::test]
async fn what_no_field_can_hold_is_refused_and_not_shown() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    let long = "hunter2".repeat(10_000);
    for (text, why) in [
        ("hunter2\r\nx: y", Unsendable::Control),
        ("hunter2\0", Unsendable::Control),
        ("hunter2\n\n", Unsendable::Control),
        ("\x1b[2Jhunter2", Unsendable::Control),
        ("", Unsendable::Empty),
        ("\n", Unsendable::Empty),
        (long.as_str(), Unsendable::Long),
    ] {
        fs::write(&path, text).unwrap();
        let error = prepared(&file(&path)).unwrap_err();
        let ValueError::File { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*source, why);
        for shown in [format!("{error:?}"), error.to_string(), error.help()] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
    fs::write(&path, "one line\r\n").unwrap();
    let value = file(&path);
    let values = prepared(&value).unwrap();
    assert_eq!(values.get(&value).await.unwrap(), "one line");
}

#[test]
fn what_is_not_there_is_told_at_the_start() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "no program").unwrap();
    let command = |program: &str| {
        value(ValueSource::Command {
            argv: vec![program.to_owned()],
            lifetime: MINUTE,
        })
    };
    for (value, expected) in [
        (
            value(ValueSource::Env("STEER_TEST_NOT_SET".to_owned())),
            "STEER_TEST_NOT_SET is not set",
        ),
        (file(&folder.path().join("none")), "could not be read"),
        (file(folder.path()), "no regular file"),
        (file(&pipe), "no regular file"),
        (command("steer-no-such-program"), "no program"),
        (command(text.to_str().unwrap()), "no program"),
    ] {
        let error = prepared(&value).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.help().is_empty());
    }
}

#[test]
fn values_are_shown_by_no_form_of_output() {
    let value = value(ValueSource::Literal("hunter2".to_owned()));
    let values = prepared(&value).unwrap();
    assert_eq!(format!("{values:?}"), "Values(1)");
}

#[tokio::test]
async fn a_program_runs_once_for_all_who_wait_and_again_when_its_lifetime_is_over() {
    let folder = TempDir::new().unwrap();
    let script = "echo run >> DIR/runs; echo \"$1\" $(wc -l < DIR/runs)";
    let value = program(&folder, script, MINUTE);
    let values = prepared(&value).unwrap();
    let gets = (values.get(&value), values.get(&value), values.get(&value));
    let (a, b, c) = tokio::join!(gets.0, gets.1, gets.2);
    for got in [a, b, c] {
        assert_eq!(got.unwrap(), "an argument 1");
    }
    pause();
    advance(MINUTE - Duration::from_secs(11)).await;
    assert_eq!(values.get(&value).await.unwrap(), "an argument 1");
    advance(Duration::from_secs(12)).await;
    tokio::time::resume();
    assert_eq!(values.get(&value).await.unwrap(), "an argument 2");
}

#[tokio::test]
async fn a_program_that_fails_gives_nothing_and_is_run_again_soon() {
    let folder = TempDir::new().unwrap();
    let script = "echo run >> DIR/runs; echo hunter2; test -e DIR/good";
    let value = program(&folder, script, MINUTE);
    let values = prepared(&value).unwrap();
    let both = tokio::join!(values.get(&value), values.get(&value));
    for got in [both.0, both.1] {
        let error = got.unwrap_err();
        assert!(matches!(error, ValueError::Failed { .. }), "{error}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    fs::write(folder.path().join("good"), "").unwrap();
    pause();
    advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(values.get(&value).await.unwrap(), "hunter2");
}

#[tokio::test]
async fn a_program_that_printed_more_than_a_field_holds_gives_nothing() {
    let folder = TempDir::new().unwrap();
    let script = "head -c 200000 /dev/zero | tr '\\0' x";
    let value = program(&folder, script, MINUTE);
    let values = prepared(&value).unwrap();
    let error = values.get(&value).await.unwrap_err();
    let ValueError::Printed { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source, Unsendable::Long);
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_is_killed_with_what_it_started() {
    let folder = TempDir::new().unwrap();
    let script = "sleep 1000 & echo $! > DIR/inner; echo $$ > DIR/outer; wait";
    let value = program(&folder, script, MINUTE);
    let values = prepared(&value).unwrap();
    let outer = folder.path().join("outer");
    let begun = async {
        while fs::read_to_string(&outer).map_or(true, |text| !text.ends_with('\n')) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        got = values.get(&value) => panic!("{got:?}"),
        () = begun => {}
    }
    for name in ["inner", "outer"] {
        let id = fs::read_to_string(folder.path().join(name)).unwrap();
        let stat = Path::new("/proc").join(id.trim()).join("stat");
        let gone = async {
            // Gone, or dead and waiting for whoever adopts it.
            while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
        assert!(gone.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_given_up() {
    let folder = TempDir::new().unwrap();
    let value = program(&folder, "echo $$ > DIR/begun; sleep 1000", MINUTE);
    let values = prepared(&value).unwrap();
    pause();
    // The clock goes on by itself where nothing but a deadline is waited for.
    let error = values.get(&value).await.unwrap_err();
    assert!(matches!(error, ValueError::Slow { .. }), "{error}");
}
