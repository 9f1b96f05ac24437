//! What the iptables driver leaves in the kernel, for both variants of the programs.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "support/iptables.rs"]
mod support;

use lab::{Service, require};
use steer_core::driver::Driver;
use steer_core::object::IptablesVariant;
use steer_kernel::iptables::IptablesDriver;
use support::{Steering, VARIANTS, greeting, listing, main, pair, redirect, snapshot};

#[test]
fn both_families_are_redirected_and_the_host_is_left_as_it_was() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let before = snapshot(&app, variant);
        let mut steering = Steering::on(&app, variant);
        for family in [lab::Family::V4, lab::Family::V6] {
            let at = srv.at(family, 80);
            steering.set(&[redirect(15001)]).unwrap();
            assert_eq!(
                greeting(app.connect(at)).unwrap(),
                "here!",
                "{variant} {family:?}"
            );
            steering.set(&[redirect(15001)]).unwrap();
            assert_eq!(
                greeting(app.connect(at)).unwrap(),
                "here!",
                "{variant} {family:?}"
            );
            steering.set(&[]).unwrap();
            assert_eq!(
                greeting(app.connect(at)).unwrap(),
                "there",
                "{variant} {family:?}"
            );
        }
        snapshot(&app, variant).assert_same_as(&before);
    }
}

#[test]
fn ours_comes_first_and_the_rules_of_a_neighbour_stay() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let theirs = [
            "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", "ACCEPT",
        ];
        app.program(variant.to_string())
            .args(theirs)
            .run()
            .expect_success();
        let before = snapshot(&app, variant);
        let mut steering = Steering::on(&app, variant);
        steering.set(&[redirect(15001)]).unwrap();
        assert_eq!(
            greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap(),
            "here!"
        );
        steering.set(&[]).unwrap();
        snapshot(&app, variant).assert_same_as(&before);
    }
}

#[test]
fn a_neighbour_who_moves_in_keeps_what_it_made() {
    require!(Root, Program("iptables-nft"));
    let (app, _srv, _here, _there) = pair();
    let mut steering = Steering::on(&app, IptablesVariant::Nft);
    steering.set(&[redirect(15001)]).unwrap();
    let theirs = [
        "-t",
        "nat",
        "-A",
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        "1",
        "-j",
        "ACCEPT",
    ];
    app.program("iptables-nft")
        .args(theirs)
        .run()
        .expect_success();
    steering.set(&[]).unwrap();
    let text = listing(&app, "iptables-nft", "nat");
    assert!(
        text.contains("-A PREROUTING -p tcp -m tcp --dport 1 -j ACCEPT"),
        "{text}"
    );
    assert!(!text.contains("STEER"), "{text}");
}

#[test]
fn retired_rules_let_established_flows_go_on_and_take_no_further_one() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let at = srv.at(lab::Family::V6, 80);
        let mut steering = Steering::on(&app, variant);
        steering.set(&[redirect(15001)]).unwrap();
        let mut live = app.connect(at).unwrap();
        assert_eq!(live.receive(5).unwrap(), b"here!");
        steering.set(&[redirect(15001).retired()]).unwrap();
        assert_eq!(greeting(app.connect(at)).unwrap(), "there");
        live.send(b"again").unwrap();
        assert_eq!(live.receive(5).unwrap(), b"again", "{variant}");
        steering.set(&[]).unwrap();
    }
}

#[test]
fn what_a_crash_left_is_found_adopted_and_removed() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let before = snapshot(&app, variant);
        Steering::on(&app, variant).set(&[redirect(15002)]).unwrap();
        // A jump too many, as two starts at once could leave it.
        let jump = [
            "-t",
            "nat",
            "-I",
            "OUTPUT",
            "-m",
            "comment",
            "--comment",
            "steer main",
            "-j",
            "STEER_main_OUT",
        ];
        app.program(variant.to_string())
            .args(jump)
            .run()
            .expect_success();

        let mut next = Steering::on(&app, variant);
        next.set(&[redirect(15001)]).unwrap();
        assert_eq!(
            greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap(),
            "here!"
        );
        let text = listing(&app, &variant.to_string(), "nat");
        assert_eq!(text.matches("-A OUTPUT").count(), 1, "{text}");

        let mut cleaner = IptablesDriver::new();
        let found = cleaner.observe(&next.netns).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].what, format!("{variant} chains STEER_main_*"));
        assert_eq!(found[0].instance, Some(main()));
        cleaner.remove(&found[0]).unwrap();
        cleaner.remove(&found[0]).unwrap();
        assert_eq!(cleaner.observe(&next.netns).unwrap(), []);
        snapshot(&app, variant).assert_same_as(&before);
    }
}

#[test]
fn no_connection_goes_direct_while_rules_are_swapped() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, there) = pair();
        let mut steering = Steering::on(&app, variant);
        steering.set(&[redirect(15001)]).unwrap();
        let other = app.serve(15002, Service::Banner(b"other".to_vec()));
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                for turn in 0..20 {
                    steering.set(&[redirect(15001 + turn % 2)]).unwrap();
                }
            });
            while !swapping.is_finished() {
                let text = greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap();
                assert_ne!(text, "there", "{variant}");
            }
        });
        assert!(there.seen().is_empty());
        assert!(!other.seen().is_empty(), "nothing was swapped");
    }
}
