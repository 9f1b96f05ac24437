//! A host that checks where packets come from.

use lab::{Family, Service};
use steer_tests::{Rig, Setup, Stage};

use crate::scene::BOTH;

/// What the engine answers comes in by the device, from addresses that the main table has elsewhere.
/// The filter takes the strictest of `all` and the interface's own, and admits nothing from an
/// interface without an address.
#[test]
fn a_reverse_path_filter_lets_the_engine_s_answers_in() {
    lab::require!(Namespaces, Path("/dev/net/tun"));
    for filter in ["1", "2"] {
        for mount in BOTH {
            let stage = Stage::new("filter");
            let _tcp = stage.srv.serve(7, Service::Echo);
            let _udp = stage.srv.serve_udp(7);
            stage.app.set_sysctl("net/ipv4/conf/all/rp_filter", filter);
            let rig = Rig::start(&stage.app, mount, &Setup::policy("on_failure: closed\n"));
            for family in Family::BOTH {
                let to = stage.at(family, 7);
                let connected = rig.connect(to);
                let mut client = connected
                    .unwrap_or_else(|why| panic!("{mount:?} {family:?} {filter}: {why:?}"));
                client.send(b"hello").expect("it stands");
                assert_eq!(client.receive(5).expect("it stands"), b"hello");
                let answer = rig.udp(family).ask(to, b"hello");
                assert_eq!(answer, Ok((b"hello".to_vec(), to)), "{mount:?} {filter}");
            }
            // Each was steered, and is on record.
            assert!(rig.finish().len() >= 4, "{mount:?} {filter}");
        }
    }
}
