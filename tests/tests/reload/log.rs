//! Records after the file of the log was moved.

use std::fs;

use lab::{Family, Service};
use steer_tests::Records;

use crate::scene::Up;
use crate::site::{Means, Site, echoes};

#[test]
fn a_log_that_is_moved_is_opened_again_and_no_record_is_lost() {
    lab::require!(Namespaces);
    let site = Site::new("log");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let log = format!(
        "log: {{ connections: {{ file: {} }} }}",
        site.log().display()
    );
    let up = Up::start(&site, Means::RedirectNft, &log);
    let connect = || {
        let mut client = site.connect(echo).expect("let pass");
        assert!(echoes(&mut client, b"logged"));
        client
    };
    drop(connect());
    site.records().wait_for(1);
    let lasting = connect();
    let mut count = 0;
    for turn in 1..=3 {
        let moved = site.path(&format!("records.{turn}"));
        for _ in 0..20 {
            drop(connect());
            count += 1;
        }
        fs::rename(site.log(), &moved).expect("it is there");
        for _ in 0..20 {
            drop(connect());
            count += 1;
        }
        let said = up.again();
        assert!(said.contains("as the config says"), "{said}");
        // Whoever ends from here on is in the file of the name.
        drop(connect());
        count += 1;
        site.records()
            .wait("the file has records", |all| !all.is_empty());
    }
    // One that came before all of them ends after all of them.
    let local = lasting.local().to_string();
    drop(lasting);
    site.records()
        .wait("its record is in the last file", |all| {
            all.iter().any(|record| record["client"] == local.as_str())
        });
    let all = || {
        let moved = (1..=3).map(|turn| Records::of(site.path(&format!("records.{turn}"))));
        let all = moved
            .chain([site.records()])
            .flat_map(|records| records.all());
        all.collect::<Vec<_>>()
    };
    lab::eventually("every record is somewhere", || {
        (all().len() == count + 2).then_some(())
    });
    up.stop();
    assert_eq!(all().len(), count + 2);
}

#[test]
fn a_log_that_was_not_kept_is_kept_from_a_reload_on_and_no_longer_from_another() {
    lab::require!(Namespaces);
    let site = Site::new("logged");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let log = format!(
        "log: {{ connections: {{ file: {} }} }}",
        site.log().display()
    );
    let up = Up::start(&site, Means::RedirectNft, "");
    let connect = || {
        let mut client = site.connect(echo).expect("let pass");
        assert!(echoes(&mut client, b"perhaps logged"));
    };
    connect();
    up.reload(&log);
    connect();
    site.records().wait_for(1);
    up.reload("");
    connect();
    up.stop();
    assert_eq!(site.records().all().len(), 1);
}
