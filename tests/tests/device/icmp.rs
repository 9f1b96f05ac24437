//! ping and traceroute.

use std::net::IpAddr;

use lab::{Capture, Family, Output, Packet, Status};

use crate::scene::{BOTH, Scene, dash};

/// Nobody has it.
fn nobody(family: Family) -> IpAddr {
    family.foreign(9)
}

fn ping(scene: &Scene, to: IpAddr) -> Output {
    let program = scene.program("ping").arg(dash(Family::of(to)));
    program
        .args(["-n", "-c", "3", "-i", "0.2", "-W", "5", &to.to_string()])
        .run()
}

/// What leaves the host is seen by the witness, and nothing of a steered ping does.
fn left(witness: &Capture, to: IpAddr) -> Vec<Packet> {
    witness.barrier();
    witness.packets(|packet| packet.destination.ip() == to)
}

#[test]
fn pings_are_answered_where_that_is_written() {
    lab::require!(Namespaces, Program("ping"), Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("answer", mount, "device: { echo: answer }\n");
        let witness = Capture::start(&scene.stage.app, &scene.stage.app.uplink().name);
        for family in Family::BOTH {
            for to in [scene.stage.srv.address(family), nobody(family)] {
                let said = ping(&scene, to).expect_success();
                assert!(said.contains("3 received"), "{mount:?} {to}: {said}");
                assert_eq!(left(&witness, to), [], "{mount:?} {to}");
            }
        }
    }
}

/// The destination's own answer comes back, and that of nobody does not.
#[test]
fn pings_are_forwarded_where_that_is_written() {
    lab::require!(Namespaces, Program("ping"), Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("forward", mount, "device: { echo: forward }\n");
        let there = Capture::start(&scene.stage.srv, &scene.stage.srv.uplink().name);
        for family in Family::BOTH {
            let to = scene.stage.srv.address(family);
            let said = ping(&scene, to).expect_success();
            assert!(said.contains("3 received"), "{mount:?} {to}: {said}");
            there.barrier();
            let seen = there.packets(|packet| packet.destination.ip() == to);
            assert_eq!(seen.len(), 3, "{mount:?} {to}: {seen:#?}");
        }
        let to = nobody(Family::V4).to_string();
        let program = scene
            .program("ping")
            .args(["-n", "-c", "1", "-W", "1", &to]);
        assert_ne!(program.run().status, Status::Exited(0), "{mount:?}");
    }
}

#[test]
fn pings_are_refused_where_that_is_written() {
    lab::require!(Namespaces, Program("ping"), Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("refuse", mount, "device: { echo: refuse }\n");
        let witness = Capture::start(&scene.stage.app, &scene.stage.app.uplink().name);
        for family in Family::BOTH {
            let to = scene.stage.srv.address(family);
            let output = ping(&scene, to);
            assert_eq!(
                output.status,
                Status::Exited(1),
                "{mount:?} {to}: {output:#?}"
            );
            // How ping calls the code "administratively prohibited" of each family.
            let word = match family {
                Family::V4 => "Packet filtered",
                Family::V6 => "Administratively prohibited",
            };
            assert!(output.stdout.contains(word), "{mount:?} {to}: {output:#?}");
            assert_eq!(left(&witness, to), [], "{mount:?} {to}");
        }
    }
}

/// One hop is `steer`, and the next one is the destination.
#[test]
fn traceroute_shows_the_device_and_then_the_destination() {
    lab::require!(Namespaces, Program("traceroute"), Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("trace", mount, "");
        for family in Family::BOTH {
            let to = scene.stage.srv.address(family);
            let words = [dash(family), "-n", "-q", "1", "-w", "5", "-m", "4"];
            let program = scene.program("traceroute").args(words);
            let said = program.arg(to.to_string()).run().expect_success();
            let hops: Vec<&str> = said
                .lines()
                .skip(1)
                .map(|line| line.split_whitespace().nth(1).expect("a hop"))
                .collect();
            let wanted = [first_hop(family), &to.to_string()];
            assert_eq!(hops, wanted, "{mount:?} {said}");
        }
    }
}

/// The address at the device that is nobody's but the engine's.
fn first_hop(family: Family) -> &'static str {
    match family {
        Family::V4 => "192.0.0.66",
        Family::V6 => "fd5e:7ee2:0:f8e4::2",
    }
}
