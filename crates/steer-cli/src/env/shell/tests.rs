use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn set(value: &[u8]) -> Change {
    Change::Set {
        name: "PROBE".to_owned(),
        value: OsString::from_vec(value.to_owned()),
    }
}

/// What a shell has in the variable after it has read the text, and after it has evaluated it as
/// the output of a program.
fn read_by(program: &str, arguments: &[&str], text: &[u8]) -> Vec<u8> {
    let mut shell = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(text).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn by_sh(text: &[u8]) -> Vec<u8> {
    let script = "eval \"$(cat)\"; printf %s \"$PROBE\"; env | grep -q ^PROBE= || exit 1";
    read_by("sh", &["-c", script], text)
}

/// Bytes that mean something to some shell, and any others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"'\"\\$`;&|<>(){}[]*?!#~ \t\n\r=%".to_vec());
    vec(prop_oneof![special, 1_u8..], 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sh_reads_any_value_as_it_was(value in hostile()) {
        let text = text(&[set(&value)], ShellArg::Sh).unwrap();
        prop_assert_eq!(by_sh(&text), value);
    }

    #[test]
    fn a_file_of_variables_is_read_by_sh_as_it_was(value in hostile()) {
        if let Ok(text) = text(&[set(&value)], ShellArg::Dotenv) {
            let script = "set -a; eval \"$(cat)\"; printf %s \"$PROBE\"";
            prop_assert_eq!(read_by("sh", &["-c", script], &text), value);
        }
    }
}

#[test]
fn fish_reads_any_value_as_it_was() {
    lab::require!(Program("fish"));
    let config = ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&hostile(), |value| {
        let text = text(&[set(&value)], ShellArg::Fish).unwrap();
        let script = "source; printf %s $PROBE";
        prop_assert_eq!(
            read_by("fish", &["--no-config", "-c", script], &text),
            value
        );
        Ok(())
    });
    done.unwrap();
}

#[test]
fn each_language_says_it_in_its_own_way() {
    let changes = [
        set(b"a b'c\\d"),
        Change::Unset {
            name: "GONE".to_owned(),
        },
    ];
    let said = |shell| String::from_utf8(text(&changes, shell).unwrap()).unwrap();
    assert_eq!(
        said(ShellArg::Sh),
        "export PROBE='a b'\\''c\\d'\nunset GONE\n"
    );
    assert_eq!(
        said(ShellArg::Fish),
        "set -gx PROBE 'a b\\'c\\\\d'\nset -e GONE\n"
    );
    assert_eq!(
        said(ShellArg::Json),
        "{\n  \"GONE\": null,\n  \"PROBE\": \"a b'c\\\\d\"\n}\n"
    );
    let lines = [set(b"http://[::1]:1"), set(b"http://127.0.0.1:1"), set(b"")];
    let file = text(&lines, ShellArg::Dotenv).unwrap();
    assert_eq!(
        String::from_utf8(file).unwrap(),
        "PROBE='http://[::1]:1'\nPROBE=http://127.0.0.1:1\nPROBE=\n"
    );
}

#[test]
fn what_a_language_cannot_say_is_an_error_and_no_text() {
    for (change, shell) in [
        (set(b"\xff"), ShellArg::Json),
        (set(b"it's"), ShellArg::Dotenv),
        (set(b"two\nlines"), ShellArg::Dotenv),
        (
            Change::Unset {
                name: "GONE".to_owned(),
            },
            ShellArg::Dotenv,
        ),
    ] {
        let error = text(&[set(b"fine"), change], shell).unwrap_err();
        assert!(!error.help().is_empty());
    }
}
