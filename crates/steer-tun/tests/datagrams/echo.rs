//! What `ping` and `traceroute` see.

use std::net::IpAddr;

use steer_core::address::Family;
use steer_core::intent::Echo;
use steer_core::object::device_net;

use crate::engine::REFUSE;
use crate::scene::{Scene, at, beyond};

/// What busybox's ping says.
fn ping(scene: &Scene, family: Family, words: &[&str]) -> String {
    let program = match family {
        Family::V4 => "ping",
        Family::V6 => "ping6",
    };
    let words = [&[program, "-c", "2", "-i", "0.2", "-W", "2"], words].concat();
    scene.app.program("busybox").args(words).run().stdout
}

#[test]
fn whatever_is_pinged_answers_also_in_fragments() {
    lab::require!(Root, Path("/dev/net/tun"), Program("busybox"));
    let scene = Scene::new(Some(Echo::Answer), 1500);
    for family in Family::ALL {
        let to = at(family, 0).ip().to_string();
        for size in ["0", "56", "4000", "60000"] {
            let said = ping(&scene, family, &["-s", size, &to]);
            assert!(
                said.contains("2 packets received"),
                "{family} {size}: {said}"
            );
        }
    }
}

#[test]
fn a_forwarded_ping_is_answered_by_whom_it_asks_and_by_routers_on_the_way() {
    lab::require!(Root, Path("/dev/net/tun"), Program("busybox"));
    let scene = Scene::new(Some(Echo::Forward), 1500);
    for family in Family::ALL {
        let there = beyond(family).to_string();
        for size in ["56", "4000"] {
            let said = ping(&scene, family, &["-s", size, &there]);
            assert!(
                said.contains("2 packets received"),
                "{family} {size}: {said}"
            );
        }
        // Nobody has that one, and the router has no way to it.
        let nobody = at(family, 0).ip().to_string();
        let said = ping(&scene, family, &[&nobody]);
        assert!(said.contains("0 packets received"), "{family}: {said}");
    }
}

#[test]
fn a_traceroute_sees_the_engine_and_then_the_destination() {
    lab::require!(Root, Path("/dev/net/tun"), Program("busybox"));
    let scene = Scene::new(None, 1500);
    for family in Family::ALL {
        let program = match family {
            Family::V4 => "traceroute",
            Family::V6 => "traceroute6",
        };
        let (port, to) = (REFUSE.to_string(), at(family, 0).ip().to_string());
        let words = [
            program, "-n", "-q", "1", "-w", "5", "-m", "4", "-p", &port, &to,
        ];
        let said = scene.app.program("busybox").args(words).run().stdout;
        let hops: Vec<&str> = said
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                words.next()?.parse::<u8>().ok()?;
                words.next()
            })
            .collect();
        let [here, there] = hops[..] else {
            panic!("two hops: {said}");
        };
        let here: IpAddr = here.parse().unwrap();
        assert!(device_net(family).contains(here), "{family}: {said}");
        assert_eq!(there, to, "{family}: {said}");
    }
}
