//! Events, as a subscriber gets them.

use std::os::unix::fs::PermissionsExt;

use lab::{Family, Proc, Service};
use serde_json::Value;

use crate::scene::Up;
use crate::site::{Means, Site, echoes};

/// A subscriber that is greeted.
fn subscriber(site: &Site) -> Proc {
    let nc = site.app.program("nc").arg("-U").arg(site.path("events"));
    let nc = nc.spawn();
    nc.wait_line(|line| line.contains("\"event\":\"hello\""));
    nc
}

fn wait_event(nc: &Proc, wanted: impl Fn(&Value) -> bool) -> Value {
    let read = |line: &str| serde_json::from_str::<Value>(line).ok();
    let line = nc.wait_line(|line| read(line).is_some_and(|event| wanted(&event)));
    read(&line).expect("it was read")
}

#[test]
fn a_subscriber_is_told_what_happens_as_it_happens() {
    lab::require!(Namespaces, Program("nc"));
    let site = Site::new("events");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let lines = format!(
        "events: {{ listen: \"unix:{}\" }}",
        site.path("events").display()
    );
    let up = Up::start(&site, Means::RedirectNft, &lines);
    let mode = std::fs::metadata(site.path("events"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let nc = subscriber(&site);
    let mut client = site.connect(echo).expect("let pass");
    assert!(echoes(&mut client, b"watched"));
    let to = echo.to_string();
    let begun = wait_event(&nc, |event| {
        event["event"] == "connection-begin" && event["destination"] == to.as_str()
    });
    drop(client);
    let ended = wait_event(&nc, |event| {
        event["event"] == "connection-end" && event["connection"] == begun["connection"]
    });
    assert_eq!(
        (&ended["outcome"], &ended["sent"]),
        (&"ok".into(), &7.into())
    );
    wait_event(&nc, |event| {
        event["event"] == "counters" && event["accepted"] == 1
    });
    up.reload(&lines);
    wait_event(&nc, |event| {
        event["event"] == "reload" && event["outcome"] == "applied"
    });
    let said = up.reload_in_vain("rulez: []");
    let told = wait_event(&nc, |event| {
        event["event"] == "reload" && event["outcome"] == "refused"
    });
    let error = told["error"].as_str().expect("why");
    assert!(
        said.contains(error.lines().next().expect("a line")),
        "{error}"
    );
    let said = up.reload_in_vain("");
    assert!(said.contains("events is not what"), "{said}");
    up.reload(&lines);
    up.stop();
    assert!(!site.path("events").exists());
}
