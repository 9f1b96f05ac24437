//! How long the nf_tables driver's tables live, and whom they belong to.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "support/steering.rs"]
mod steering;

use lab::{Failure, Snapshot, eventually, require};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver};
use steer_core::object::Object;
use steer_core::plan::Netns;
use steer_core::ruleset::{Role, Verdict};
use steer_kernel::nft::NftDriver;
use steering::{Steering, greeting, guard, list, main, pair, redirect};

#[test]
fn what_steers_lives_as_long_as_its_lifeline_and_a_guard_longer() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let mut steering = Steering::on(&app);
    let both = [redirect(15001, []), guard(&[Family::V4], Verdict::Prohibit)];
    steering.set(&both).unwrap();
    app.program("nft")
        .args(["flush", "ruleset"])
        .run()
        .expect_success();
    assert!(
        list(&app).contains("table inet steer_main {"),
        "flushed by a neighbour"
    );

    steering.set(&both).unwrap();
    let mut lifelines = steering.driver.lifelines().unwrap();
    drop(steering.driver);
    assert!(
        list(&app).contains("table inet steer_main {"),
        "a lifeline is open"
    );

    // An heir takes the lifeline over and can change what it finds.
    steering.driver = NftDriver::new();
    steering
        .driver
        .adopt(lifelines.pop().expect("one namespace"));
    steering
        .set(&[redirect(15002, []), both[1].clone()])
        .unwrap();
    assert!(list(&app).contains(":15002"));
    drop(steering);
    eventually("the table is gone", || {
        let text = list(&app);
        let guarded = text.contains("table inet steer_main_guard {");
        (guarded && !text.contains("table inet steer_main {")).then_some(())
    });
}

#[test]
fn a_guard_that_a_crash_left_is_found_replaced_and_removed() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    let before = Snapshot::take(&app).of_host_only();
    let mut crashed = Steering::on(&app);
    crashed.set(&[guard(&Family::ALL, Verdict::Reset)]).unwrap();
    drop(crashed);
    let at = srv.at(lab::Family::V4, 80);
    assert_eq!(greeting(app.connect(at)), Err(Failure::Refused));

    let mut next = Steering::on(&app);
    next.set(&[redirect(15001, [])]).unwrap();
    assert_eq!(greeting(app.connect(at)).unwrap(), "here!");
    next.set(&[guard(&Family::ALL, Verdict::Reset)]).unwrap();

    let mut cleaner = NftDriver::new();
    let found = cleaner.observe(&next.netns).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].what, "nft table inet steer_main_guard");
    assert_eq!(
        (found[0].instance.clone(), found[0].role),
        (Some(main()), Some(Role::Guard))
    );
    cleaner.remove(&found[0]).unwrap();
    cleaner.remove(&found[0]).unwrap();
    assert_eq!(cleaner.observe(&next.netns).unwrap(), []);
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn a_foreign_table_of_our_name_is_named_and_left_alone() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let foreign = "table inet steer_main { chain theirs { tcp dport 1 accept; }; }";
    app.program("nft").arg(foreign).run().expect_success();
    let before = Snapshot::take(&app).of_host_only();
    let mut steering = Steering::on(&app);
    let error = steering.set(&[redirect(15001, [])]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("table inet steer_main belongs to another program"),
        "{error}"
    );
    assert!(
        error.help().contains("nft list table inet steer_main"),
        "{}",
        error.help()
    );
    steering.set(&[]).unwrap();
    assert_eq!(steering.driver.observe(&steering.netns).unwrap(), []);
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn the_table_of_a_running_process_is_refused_to_others() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let mut first = Steering::on(&app);
    first.set(&[redirect(15001, [])]).unwrap();
    let before = Snapshot::take(&app).of_host_only();
    let mut second = Steering::on(&app);
    let error = second.set(&[redirect(15002, [])]).unwrap_err();
    assert!(
        error.to_string().contains("belongs to a process that runs"),
        "{error}"
    );
    let found = second.driver.observe(&second.netns).unwrap();
    assert!(second.driver.remove(&found[0]).is_err());
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn without_the_privilege_the_error_names_it_and_nothing_changes() {
    // The test runs itself again as another user.
    if std::env::var_os(AGAIN).is_some() {
        return as_nobody();
    }
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let before = Snapshot::take(&app).of_host_only();
    // Another user may not be able to reach the folder that this test was built in.
    let copy = std::env::temp_dir().join(format!("steer-nobody-{}", std::process::id()));
    // By another process: a descriptor for writing, inherited by a fork of another test, would
    // make it "text file busy".
    let cp = std::process::Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(cp.unwrap().success());
    let output = app
        .program(&copy)
        .args([
            "--exact",
            "without_the_privilege_the_error_names_it_and_nothing_changes",
            "--nocapture",
        ])
        .env(AGAIN, "1")
        .current_dir("/")
        .user(65_534)
        .run();
    std::fs::remove_file(&copy).unwrap();
    let text = output.expect_success();
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    assert!(text.contains("help: run as root"), "{text}");
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

/// What a process without privileges is told.
fn as_nobody() {
    let error = NftDriver::new().set(&Change {
        instance: &main(),
        netns: &Netns::Here,
        from: &[],
        to: &[Object::Nft(redirect(15001, []))],
    });
    let error = error.unwrap_err();
    println!("{error}\nhelp: {}", error.help());
}

const AGAIN: &str = "STEER_TEST_AGAIN";
