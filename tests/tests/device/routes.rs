//! What others do to routes and rules while a device is in force.

use std::time::Duration;

use lab::{Client, Family, Service};

use crate::scene::{BOTH, Scene};

/// A VPN begins, a lease is renewed, a device is taken down: what may take packets away from the
/// device is warned of, with what to do, and what changes the engine's own way is told.
#[test]
fn what_others_do_to_routes_and_rules_is_reported() {
    lab::require!(Namespaces, Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("others", mount, "on_failure: closed\n");
        let Scene { rig, stage } = &scene;
        let told = |words: &[&str]| {
            let is_it = |line: &str| words.iter().all(|word| line.contains(word));
            rig.proc().wait_line(is_it);
        };
        for (dash, family) in [("-4", "ipv4"), ("-6", "ipv6")] {
            let rule = ["pref", "77", "lookup", "main"];
            stage.app.ip(&[&[dash, "rule", "add"][..], &rule].concat());
            told(&["WARN", "a policy rule of another program", family, "help"]);
            stage.app.ip(&[&[dash, "rule", "del"][..], &rule].concat());
        }
        let gateway = stage.srv.address(Family::V4).to_string();
        let route = ["default", "via", &gateway, "metric", "4711"];
        stage.app.ip(&[&["route", "add"][..], &route].concat());
        told(&["INFO", "a default route of ipv4 came", "metric 4711"]);
        stage.app.ip(&[&["route", "del"][..], &route].concat());
        told(&["INFO", "a default route of ipv4 went", "metric 4711"]);

        let device = scene.device(mount);
        stage.app.ip(&["link", "set", &device, "down"]);
        told(&[
            "WARN",
            &format!("the device {device} is down"),
            "ip link set",
        ]);
        // Its routes went with it, and nothing else takes what is steered.
        let server = stage.srv.serve(7, Service::Echo);
        for family in Family::BOTH {
            let connect = || Client::connect_within(stage.at(family, 7), SHORTLY);
            assert!(stage.app.enter(connect).is_err(), "{mount:?} {family:?}");
        }
        assert_eq!(server.seen(), [], "{mount:?}");
    }
}

/// How long a connect is waited for that is not to come about.
const SHORTLY: Duration = Duration::from_secs(1);
