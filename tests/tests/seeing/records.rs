//! Records for people, and what a reload makes of the log.

use std::fs;

use lab::{Family, Service, eventually};

use crate::scene::Up;
use crate::site::{Means, Site, echoes};

#[test]
fn records_for_people_are_lines_and_a_reload_changes_their_form() {
    lab::require!(Namespaces);
    let site = Site::new("form");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let log = |form: &str| {
        let path = site.log();
        format!(
            "log: {{ connections: {{ file: {} }}, format: {form} }}",
            path.display()
        )
    };
    let up = Up::start(&site, Means::RedirectNft, &log("text"));
    let connect = || {
        let mut client = site.connect(echo).expect("let pass");
        assert!(echoes(&mut client, b"logged"));
    };
    let lines = |count: usize| {
        eventually("a line is written", || {
            let text = fs::read_to_string(site.log()).ok()?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() == count).then_some(lines)
        })
    };
    connect();
    let told = lines(1);
    for part in [" ✓ ok ", " redirect ", &format!(" → {echo} ")] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    up.reload(&log("json"));
    connect();
    let told = lines(2);
    assert!(
        told[1].starts_with("{\"kind\":\"connection\","),
        "{}",
        told[1]
    );
    up.stop();
}
