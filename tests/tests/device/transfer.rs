//! Many bytes, by devices of different sizes.

use lab::{End, Family, Pattern, Service};
use steer_tests::{Mount, Record};

use crate::scene::{BOTH, Scene};

/// How much goes each way.
const MUCH: u64 = 20 << 20;

fn every_byte_arrives(mount: Mount, mtu: u32) {
    lab::require!(Namespaces, Path("/dev/net/tun"));
    let scene = Scene::new("mtu", mount, &format!("device: {{ mtu: {mtu} }}\n"));
    let Scene { rig, stage } = &scene;
    let device = scene.device(mount);
    let shown = stage.app.ip(&["link", "show", &device]);
    assert!(shown.contains(&format!("mtu {mtu} ")), "{shown}");
    let _source = stage.srv.serve(8, Service::Source(Pattern(1), MUCH));
    let _sink = stage.srv.serve(9, Service::Digest);
    let _echo = stage.srv.serve_udp(7);
    for family in Family::BOTH {
        let mut client = rig.connect(stage.at(family, 8)).expect("it listens");
        let download = client.download();
        assert_eq!(download.digest.length(), MUCH, "{family:?}");
        assert_eq!(download.digest, Pattern(1).digest(MUCH), "{family:?}");
        assert_eq!(download.end, End::Fin);
        client.finish();

        let mut client = rig.connect(stage.at(family, 9)).expect("it listens");
        client.upload(Pattern(2), MUCH).expect("it stands");
        client.finish();
        let answer = format!("{} {MUCH}\n", Pattern(2).digest(MUCH));
        assert_eq!(
            client.receive_all(),
            (answer.into_bytes(), End::Fin),
            "{family:?}"
        );

        // Whole, in fragments, and as large as there are.
        for length in [1, 1200, 1400, 4000, 8972, 20_000, 60_000] {
            let bytes = Pattern(3).bytes(length);
            let to = stage.at(family, 7);
            let answer = rig.udp(family).ask(to, &bytes);
            let (answer, from) = answer.unwrap_or_else(|why| panic!("{length}: {why:?}"));
            assert!(answer == bytes && from == to, "{family:?} {length}");
        }
    }
}

macro_rules! cases {
    ($($name:ident: $mount:ident, $mtu:expr;)*) => {
        $(#[test]
        fn $name() {
            every_byte_arrives(Mount::$mount, $mtu);
        })*
    };
}

cases! {
    every_byte_arrives_by_a_tun_with_an_mtu_of_1280: Tun, 1280;
    every_byte_arrives_by_a_tun_with_an_mtu_of_1500: Tun, 1500;
    every_byte_arrives_by_a_tun_with_an_mtu_of_9000: Tun, 9000;
    every_byte_arrives_by_a_tap_with_an_mtu_of_1280: Tap, 1280;
    every_byte_arrives_by_a_tap_with_an_mtu_of_1500: Tap, 1500;
    every_byte_arrives_by_a_tap_with_an_mtu_of_9000: Tap, 9000;
}

/// A program that measures: up, and down with `--reverse`.
#[test]
fn iperf_sends_and_receives_over_tcp() {
    lab::require!(Namespaces, Program("iperf3"), Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("iperf", mount, "");
        for family in Family::BOTH {
            let to = scene.stage.srv.address(family).to_string();
            for more in [&[][..], &["--reverse"]] {
                let server = scene.stage.srv.serve_iperf();
                let words = ["--client", &to, "--bytes", "100M", "--forceflush"];
                let program = scene.program("iperf3").args(words).args(more);
                let said = program.run().expect_success();
                assert!(said.contains("receiver"), "{mount:?} {said}");
                server.wait();
            }
        }
        let records = scene.rig.finish();
        // One to control each run, and one with its bytes. Whoever hears first that the client has
        // sent them all resets it, while some are on their way.
        assert_eq!(records.len(), 8, "{records:#?}");
        let direct = |it: &Record| it["upstream"] == "direct";
        assert!(records.iter().all(direct), "{records:#?}");
        let carried = |way: &str| {
            let all = records.iter().filter_map(|it| it[way].as_u64());
            all.filter(|bytes| *bytes >= 50 << 20).count()
        };
        assert_eq!(
            [carried("sent"), carried("received")],
            [2, 2],
            "{records:#?}"
        );
    }
}
