//! Destinations where nobody is: a program gets the error that it would get by itself.

use lab::{Family, Status};

use crate::column::Column;
use crate::errand::{Errand, Promise, Visit};
use crate::ground::Ground;

/// Refused and unreachable destinations, by every way to connect.
pub(crate) fn connects_fail_with_the_same_errors(column: Column) {
    lab::require!(Root, Path("/usr/bin/python3"), Program("dnsmasq"));
    let ground = Ground::new("refusals");
    let script = ground.write("refusals.py", include_str!("programs/refusals.py"));
    let mut words = vec!["/usr/bin/python3".to_owned(), script.display().to_string()];
    for (family, flag) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let refused = ground.srv.address(family);
        let [unreachable, prohibited] = [7, 8].map(|n| family.foreign(n).to_string());
        ground.app.make_unreachable(&unreachable);
        ground
            .app
            .ip(&[flag, "route", "add", "prohibit", &prohibited]);
        for host in [refused.to_string(), unreachable, prohibited] {
            words.extend([host, "1".to_owned()]);
        }
    }
    if column == Column::Env {
        // What the program meets first is where the server would be.
        let at = ground.at(Family::V4, 1);
        let errand = Errand::new(words, [Visit::Address(at)]);
        return errand.except(column, Promise::Caught).hold(&ground, column);
    }
    let unsteered = ground.program(&words).run().expect_success();
    assert!(unsteered.contains("ECONNREFUSED"), "{unsteered}");
    assert!(unsteered.contains("EHOSTUNREACH"), "{unsteered}");
    assert!(unsteered.contains("EACCES"), "{unsteered}");
    let log = ["--log".to_owned(), ground.word("log")];
    // With a log the engine relays, without one it need not.
    for more in [&log[..], &[]] {
        let mut run = ground.plainly(column);
        run.extend(more.iter().cloned());
        run.push("--".to_owned());
        run.extend(words.iter().cloned());
        let output = ground.program(&run).run();
        assert_eq!(output.status, Status::Exited(0), "{column:?}: {output:#?}");
        if column.confines() {
            for line in output.stdout.lines() {
                // Through a device the reset can be there before the connect has returned.
                let told = match column {
                    Column::Tun => line.contains("ECONNRESET"),
                    _ => line.contains("connected, ECONNRESET"),
                };
                assert!(told, "{output:#?}");
            }
            continue;
        }
        assert_eq!(
            output.stdout, unsteered,
            "{column:?} {more:?}: {}",
            output.stderr
        );
    }
}
