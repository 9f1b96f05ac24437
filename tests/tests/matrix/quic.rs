//! HTTP/3 by a real client and server: steered, rejected or left alone.

use lab::{Family, WebClient};
use steer_tests::{Mount, Rig, Setup, Stage, User};

pub(crate) const NAME: &str = "www.a.example";

/// Whose the Python of the client is.
pub(crate) const CLIENT: User = User::Root;

pub(crate) fn ask(rig: &Rig, stage: &Stage, family: Family) -> String {
    let asked = WebClient {
        address: stage.srv.address(family),
        port: 443,
        name: NAME,
        path: "/bytes/200000",
    };
    rig.run(stage.app.web_client(asked)).expect_success()
}

/// The client is told at once, and the page comes over TCP.
pub(crate) fn quic_is_rejected_at_once_where_asked(mount: Mount) {
    lab::require!(Quic);
    let stage = Stage::new("noquic");
    let server = stage.srv.serve_web(443);
    let setup = Setup {
        user: CLIENT,
        ..Setup::traffic("{ quic: reject }")
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    for family in Family::BOTH {
        let said = ask(&rig, &stage, family);
        let (failed, then) = said.split_once('\n').expect("two lines");
        assert!(
            failed.starts_with("h3 failed: ") && !failed.contains("Timeout"),
            "{said}"
        );
        assert_eq!(then, "https 200 200000\n");
        let record = rig.records().wait_to(stage.at(family, 443));
        assert_eq!(
            (&record["protocol"], &record["host"]),
            (&"tcp".into(), &NAME.into())
        );
    }
    assert!(
        server.seen().iter().all(|line| line.starts_with("https ")),
        "{server:?}"
    );
    if mount.backend().is_none() && !mount.steers_udp() {
        // It refuses datagrams, whatever is in them.
        return;
    }
    // Other datagrams are another matter.
    let _server = stage.srv.serve_udp(4443);
    let to = stage.at(Family::V4, 4443);
    assert_eq!(
        rig.udp(Family::V4).ask(to, b"hello"),
        Ok((b"hello".to_vec(), to))
    );
}

pub(crate) fn quic_is_left_alone_where_asked(mount: Mount) {
    lab::require!(Quic);
    for on_failure in mount.on_failures() {
        let stage = Stage::new("quicleft");
        let _server = stage.srv.serve_web(443);
        let setup = Setup {
            on_failure: (*on_failure).to_owned(),
            user: CLIENT,
            ..Setup::traffic("{ quic: leave }")
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        for family in Family::BOTH {
            assert_eq!(ask(&rig, &stage, family), "h3 200 200000\n");
        }
        assert_eq!(rig.finish().len(), 0);
    }
}
