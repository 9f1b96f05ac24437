//! What a method cannot steer is refused where nothing may leak.

use lab::{Capture, DEADLINE, Failure, Family};
use steer_tests::{Mount, Rig, Setup, Stage};

pub(crate) fn udp_of_the_scope_is_refused_under_closed(mount: Mount) {
    let stage = Stage::new("udp");
    let server = stage.srv.serve_udp(7);
    let capture = Capture::start(&stage.app, &stage.app.uplink().name);
    let ask = |family| {
        let to = stage.at(family, 7);
        stage.app.ask_udp(to, SECRET, DEADLINE)
    };
    // The witness does see such datagrams.
    for family in Family::BOTH {
        assert_eq!(ask(family).expect("the server answers").0, SECRET);
        capture.wait_for(|packet| packet.family() == family && packet.carries(SECRET));
    }
    let before = server.seen().len();
    capture.clear();
    let setup = Setup {
        on_failure: "closed".to_owned(),
        ..Setup::default()
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    for family in Family::BOTH {
        let failure = ask(family).expect_err("UDP is refused");
        assert_ne!(failure, Failure::TimedOut, "{family:?}: refused at once, not dropped");
    }
    capture.barrier();
    assert_eq!(capture.packets(|packet| packet.carries(SECRET)), []);
    assert_eq!(server.seen().len(), before);
    drop(rig);
    // And works again afterwards.
    assert_eq!(ask(Family::V4).expect("the server answers").0, SECRET);
}

const SECRET: &[u8] = b"seen outside by nobody";
