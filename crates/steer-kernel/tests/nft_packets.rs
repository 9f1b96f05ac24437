//! What the nf_tables driver's rules do to packets.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "support/steering.rs"]
mod steering;

use std::time::Duration;

use lab::{Cgroup, Failure, Service, Snapshot, require};
use steer_core::address::Family;
use steer_core::ruleset::{Test, Verdict};
use steer_core::symbol::CgroupRef;
use steering::{Steering, greeting, guard, pair, redirect};

#[test]
fn connections_of_both_families_are_redirected_and_direct_again_afterwards() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    let before = Snapshot::take(&app).of_host_only();
    let mut steering = Steering::on(&app);
    for family in [lab::Family::V4, lab::Family::V6] {
        let at = srv.at(family, 80);
        steering.set(&[redirect(15001, [])]).unwrap();
        assert_eq!(greeting(app.connect(at)).unwrap(), "here!", "{family:?}");
        steering.set(&[]).unwrap();
        assert_eq!(greeting(app.connect(at)).unwrap(), "there", "{family:?}");
    }
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn a_cgroup_is_steered_with_those_below_it_and_no_other() {
    require!(Root, Program("nft"), Program("python3"));
    let (app, srv, _here, _there) = pair();
    let (inside, outside) = (Cgroup::new("in"), Cgroup::new("out"));
    let mut steering = Steering::on(&app);
    let path = CgroupRef::Path(inside.name().to_owned());
    steering
        .set(&[redirect(15001, [Test::Cgroup(path)])])
        .unwrap();
    let at = srv.at(lab::Family::V4, 80);
    let greeting_in = |cgroup: &Cgroup| {
        let read = format!(
            "import socket; print(socket.create_connection(('{}', 80)).recv(5).decode())",
            at.ip()
        );
        app.program("python3")
            .args(["-c", &read])
            .cgroup(cgroup)
            .run()
            .expect_success()
    };
    assert_eq!(greeting_in(&inside).trim(), "here!");
    assert_eq!(greeting_in(&outside).trim(), "there");
    let below = inside.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let procs = below.join("cgroup.procs");
    let script = format!(
        "import os,socket; open('{}','w').write(str(os.getpid())); print(socket.create_connection(('{}', 80)).recv(5).decode())",
        procs.display(),
        at.ip()
    );
    let text = app
        .program("python3")
        .args(["-c", &script])
        .run()
        .expect_success();
    assert_eq!(text.trim(), "here!");
}

#[test]
fn a_user_is_steered_and_its_neighbour_is_not() {
    require!(Root, Program("nft"), Program("python3"));
    let (app, srv, _here, _there) = pair();
    let mut steering = Steering::on(&app);
    let uid = Test::Uid(vec![
        "60000-60010".parse().unwrap(),
        "65534".parse().unwrap(),
    ]);
    steering.set(&[redirect(15001, [uid])]).unwrap();
    let ip = srv.at(lab::Family::V6, 80).ip();
    for (user, expected) in [
        (60_005, "here!"),
        (65_534, "here!"),
        (60_011, "there"),
        (0, "there"),
    ] {
        let read = format!(
            "import socket; print(socket.create_connection(('{ip}', 80)).recv(5).decode())"
        );
        let text = app
            .program("python3")
            .args(["-c", &read])
            .user(user)
            .run()
            .expect_success();
        assert_eq!(text.trim(), expected, "uid {user}");
    }
}

#[test]
fn a_guard_refuses_its_family_at_once_and_leaves_the_other() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    let mut steering = Steering::on(&app);
    let (v4, v6) = (srv.at(lab::Family::V4, 80), srv.at(lab::Family::V6, 80));
    steering
        .set(&[guard(&[Family::V6], Verdict::Reset)])
        .unwrap();
    assert_eq!(greeting(app.connect(v6)), Err(Failure::Refused));
    assert_eq!(greeting(app.connect(v4)).unwrap(), "there");

    steering
        .set(&[guard(&Family::ALL, Verdict::Prohibit)])
        .unwrap();
    for at in [v4, v6] {
        // Both kernels report "administratively prohibited" as unreachable or forbidden.
        let refused = app.ask_udp(at, b"x", Duration::from_secs(5)).unwrap_err();
        assert!(
            matches!(refused, Failure::Unreachable | Failure::Denied),
            "{refused:?}"
        );
    }
}

#[test]
fn retired_rules_let_established_flows_go_on_and_take_no_further_one() {
    require!(Root, Program("nft"));
    let (app, srv, here, _there) = pair();
    let at = srv.at(lab::Family::V4, 80);
    let mut steering = Steering::on(&app);
    let rules = redirect(15001, []);
    steering.set(std::slice::from_ref(&rules)).unwrap();
    let mut live = app.connect(at).unwrap();
    assert_eq!(live.receive(5).unwrap(), b"here!");

    steering.set(&[rules.retired()]).unwrap();
    assert_eq!(greeting(app.connect(at)).unwrap(), "there");
    live.send(b"again").unwrap();
    assert_eq!(live.receive(5).unwrap(), b"again");
    here.wait_for(|seen| seen[0].received == 5);

    steering.set(std::slice::from_ref(&rules)).unwrap();
    live.send(b"still").unwrap();
    assert_eq!(live.receive(5).unwrap(), b"still");
    assert_eq!(greeting(app.connect(at)).unwrap(), "here!");
}

#[test]
fn no_connection_goes_direct_while_rules_are_swapped_beside_a_busy_neighbour() {
    require!(Root, Program("nft"));
    let (app, srv, _here, there) = pair();
    let other = app.serve(15002, Service::Banner(b"other".to_vec()));
    let mut steering = Steering::on(&app);
    steering.set(&[redirect(15001, [])]).unwrap();
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            for turn in 0..200 {
                let mut rules = redirect(15001 + turn % 2, []);
                // Another place among the chains of the hook means another base chain.
                rules.chains[0].base.as_mut().unwrap().priority -= i32::from(turn % 4);
                steering.set(&[rules]).unwrap();
            }
        });
        let app = &app;
        let neighbour = scope.spawn(move || {
            while !swapping.is_finished() {
                let change = "add table inet theirs; delete table inet theirs";
                app.program("nft").arg(change).run().expect_success();
            }
        });
        while !neighbour.is_finished() {
            let text = greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap();
            assert_ne!(text, "there");
        }
    });
    assert!(there.seen().is_empty());
    assert!(!other.seen().is_empty(), "nothing was swapped");
}

#[test]
fn lists_of_thousands_of_networks_are_taken() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    // Every second network of 10.0.0.0/8, so that none can be merged.
    let far = (0..20_000_u32).map(|n| {
        let net = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n * 512);
        format!("{net}/24").parse().unwrap()
    });
    let near = srv.at(lab::Family::V4, 80);
    let nets = far
        .chain([steer_core::address::Cidr::host(near.ip())])
        .collect();
    let mut steering = Steering::on(&app);
    steering.set(&[redirect(15001, [Test::To(nets)])]).unwrap();
    assert_eq!(greeting(app.connect(near)).unwrap(), "here!");
    assert_eq!(
        greeting(app.connect(srv.at(lab::Family::V6, 80))).unwrap(),
        "there"
    );
}
