//! What cannot be reached is told in the method's own terms, and never looks like an empty answer.

use std::net::SocketAddr;

use lab::{Capture, Family, Service};
use steer_tests::{Mount, Refused, Rig, Setup, Speech, Stage};

pub(crate) fn a_refused_destination_is_refused(mount: Mount) {
    let stage = Stage::new("refused");
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let to = stage.at(family, 9);
        let refused = rig.refusal(to);
        match mount.speech() {
            Speech::Unaware => assert!(refused.is_an_error(), "{refused:?}"),
            Speech::Connect => assert_eq!(refused, Refused::Http(502)),
            Speech::Socks5 => assert_eq!(refused, Refused::Socks5(5)),
        }
        let record = rig.records().wait_to(to);
        assert_eq!(record["outcome"], "refused");
        assert_eq!(record["upstream"], "direct");
        assert_eq!((&record["sent"], &record["received"]), (&0.into(), &0.into()));
        assert!(record["error"].is_string(), "{record:?}");
    }
}

pub(crate) fn an_unreachable_destination_is_an_error(mount: Mount) {
    let stage = Stage::new("noroute");
    let gate = stage.lab.router("gate");
    let far = stage.lab.host("far");
    stage.lab.link(&far, &gate);
    gate.make_unreachable("203.0.113.0/24");
    gate.make_unreachable("2001:db8::/32");
    let rig = Rig::start(&far, mount, &Setup::default());
    for family in Family::BOTH {
        let to = SocketAddr::new(family.foreign(1), 80);
        let refused = rig.refusal(to);
        match mount.speech() {
            Speech::Unaware => assert!(refused.is_an_error(), "{refused:?}"),
            Speech::Connect => assert_eq!(refused, Refused::Http(502)),
            // Network or host unreachable.
            Speech::Socks5 => assert!(
                matches!(refused, Refused::Socks5(3 | 4)),
                "{refused:?}"
            ),
        }
        let record = rig.records().wait_to(to);
        assert_eq!(record["outcome"], "error");
    }
}

/// A route of this very host that prohibits a destination: a transparent method's client is told
/// by its own kernel, before anybody could steer it.
pub(crate) fn a_prohibited_destination_is_an_error(mount: Mount) {
    let stage = Stage::new("prohibit");
    stage.app.ip(&["route", "add", "prohibit", "203.0.113.0/24"]);
    stage.app.ip(&["-6", "route", "add", "prohibit", "2001:db8::/32"]);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let refused = rig.refusal(SocketAddr::new(family.foreign(1), 80));
        assert!(refused.is_an_error(), "{refused:?}");
    }
}

pub(crate) fn a_rejecting_rule_refuses(mount: Mount) {
    let stage = Stage::new("reject");
    let (server, to) = stage.serve(7, Service::Echo);
    let rule = "rules: [ { name: nobody, match: { port: [7] }, action: reject } ]";
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rule));
    let refused = rig.refusal(to);
    match mount.speech() {
        Speech::Unaware => assert!(refused.is_an_error(), "{refused:?}"),
        Speech::Connect => assert_eq!(refused, Refused::Http(403)),
        Speech::Socks5 => assert_eq!(refused, Refused::Socks5(2)),
    }
    let record = rig.records().wait_to(to);
    assert_eq!(record["outcome"], "denied");
    assert_eq!((&record["rule"], &record["upstream"]), (&"nobody".into(), &"none".into()));
    assert_eq!(server.seen(), []);
}

/// The witness outside sees the attempt to reach the proxy, and nothing to the destination.
pub(crate) fn a_dead_upstream_is_an_error_and_never_direct(mount: Mount) {
    let stage = Stage::new("dead");
    let (server, to) = stage.serve(7, Service::Echo);
    let proxy = stage.at(Family::V4, 1080);
    let capture = Capture::start(&stage.app, &stage.app.uplink().name);
    // The witness does see connections to the destination.
    drop(stage.app.connect(to).expect("the server listens"));
    capture.wait_for(|packet| packet.is_connect() && packet.destination == to);
    server.wait_ended(1);
    for scheme in ["socks5", "http"] {
        capture.clear();
        let policy = format!(
            "upstreams: {{ corp: {{ url: \"{scheme}://{proxy}\" }} }}\n\
             rules: [ {{ upstream: corp }} ]\n"
        );
        let rig = Rig::start(&stage.app, mount, &Setup::policy(policy));
        let refused = rig.refusal(to);
        match mount.speech() {
            Speech::Unaware => assert!(refused.is_an_error(), "{refused:?}"),
            Speech::Connect => assert_eq!(refused, Refused::Http(502)),
            Speech::Socks5 => assert!(
                matches!(refused, Refused::Socks5(1..=8)),
                "{refused:?}"
            ),
        }
        let record = rig.records().wait_to(to);
        assert_eq!(record["upstream"], "corp");
        assert_ne!(record["outcome"], "ok");
        capture.wait_for(|packet| packet.is_connect() && packet.destination == proxy);
        capture.barrier();
        assert_eq!(capture.packets(|packet| packet.destination == to), []);
    }
    assert_eq!(server.seen().len(), 1);
}
