//! Mistakes: each ends with a clear error that names the thing and the remedy, and with a host
//! that is as it was.

#[path = "bad_input/config.rs"]
mod config;
#[path = "bad_input/device.rs"]
mod device;
#[path = "bad_input/neighbours.rs"]
mod neighbours;
#[path = "bad_input/others.rs"]
mod others;
#[path = "bad_input/surroundings.rs"]
mod surroundings;
#[path = "bad_input/unprivileged.rs"]
mod unprivileged;

#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

use lab::{Output, Status};

/// Asserts that `steer` refused, by a status of its own, and said these words on stderr alone.
#[track_caller]
fn assert_refuses(output: &Output, words: &[&str]) {
    assert!(
        matches!(output.status, Status::Exited(1 | 2 | 125)),
        "{output:#?}"
    );
    assert_eq!(output.stdout, "", "{output:#?}");
    for word in words {
        assert!(
            output.stderr.contains(word),
            "{word:?} is not said: {output:#?}"
        );
    }
    assert!(!output.stderr.contains("panicked"), "{output:#?}");
}

/// The client in a command of `steer run`; see [`lab::Agent`].
#[test]
fn agent() {
    lab::serve_agent();
}
