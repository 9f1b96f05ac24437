//! Made-up addresses, by which a name selects.

use std::net::{IpAddr, SocketAddr};

use lab::{Capture, DnsQuery, DnsReply, Failure, Family, Kind, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

use super::dns::{dig, resolver};

pub(crate) const CHOSEN: &str = "www.chosen.example";
const OTHER: &str = "www.other.example";

/// Only what belongs to the domain `chosen.example` gets an address of the pools.
pub(crate) fn setup(mount: Mount, stage: &Stage, more: &str, policy: &str) -> Setup {
    let at = stage.srv.address(Family::V4);
    Setup {
        traffic: traffic(mount).to_owned(),
        ..Setup::policy(format!(
            "dns: {{ resolver: \"{at}\", fake_ip: {more} }}\n{policy}"
        ))
    }
}

/// All names, where nothing can be left out.
fn traffic(mount: Mount) -> &'static str {
    match mount {
        Mount::Netns => "{ dns: capture }",
        _ => "{ dns: capture, include: { domains: [\"*.chosen.example\"] } }",
    }
}

/// The address that is answered for a name, as the program sees it.
pub(crate) fn answered(rig: &Rig, stage: &Stage, name: &str, family: Family) -> IpAddr {
    let kind = if family == Family::V4 { "A" } else { "AAAA" };
    let said = dig(rig, stage.srv.address(Family::V4), &[name, kind]);
    said.trim_end()
        .parse()
        .unwrap_or_else(|error| panic!("{name} {kind}: {error}: {said}"))
}

pub(crate) fn is_made_up(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 198 && ip.octets()[1] & 0xfe == 18,
        IpAddr::V6(ip) => ip.segments()[..4] == [0xfd5e, 0x7ee2, 0, 0xf8e1],
    }
}

pub(crate) fn only_chosen_names_get_a_made_up_address(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("fake");
    let zone = resolver(&stage, &[CHOSEN, "ftp.chosen.example", OTHER]);
    let server = stage.srv.serve(7, Service::Echo);
    let rig = Rig::start(&stage.app, mount, &setup(mount, &stage, "true", ""));
    let at = stage.srv.address(Family::V4);
    for family in Family::BOTH {
        let chosen = answered(&rig, &stage, CHOSEN, family);
        assert!(is_made_up(chosen), "{chosen}");
        assert_eq!(
            answered(&rig, &stage, CHOSEN, family),
            chosen,
            "it is the same again"
        );
        let another = answered(&rig, &stage, "ftp.chosen.example", family);
        assert!(is_made_up(another) && another != chosen, "{another}");
        // Backwards it is the same.
        assert_eq!(
            dig(&rig, at, &["-x", &chosen.to_string()]),
            format!("{CHOSEN}.\n")
        );
        let other = answered(&rig, &stage, OTHER, family);
        assert_eq!(other, stage.srv.address(family));
        // What has a true address is not steered.
        let mut client = rig
            .connect(SocketAddr::new(other, 7))
            .expect("it listens");
        client.send(b"hello").expect("the connection stands");
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(
            server.seen().last().map(|one| one.peer),
            Some(client.local())
        );
    }
    // A name that does not exist does not come to be, and others' types pass.
    let reply = |name: &str, kind| {
        let query = DnsQuery::new(3, name, kind);
        let to = SocketAddr::new(at, 53);
        let (answer, _) = rig
            .udp(Family::V4)
            .ask(to, &query.bytes())
            .expect("an answer");
        DnsReply::parse(&answer).expect("an answer")
    };
    assert_eq!(reply("none.other.example", Kind::A).code, 3);
    assert_eq!(reply(OTHER, Kind::TXT).records, []);
    // What says how to reach a chosen name tells no true address.
    let hints = reply(CHOSEN, Kind::HTTPS);
    assert_eq!((hints.code, hints.records), (0, Vec::new()));
    assert!(zone.asked().iter().any(|line| line.contains(OTHER)));
    let records = rig.finish();
    assert!(records.iter().all(|it| it["app"] == "dns"), "{records:#?}");
}

/// Addresses of the pools that stand for no name: kept from a run before, or guessed.
pub(crate) fn an_unknown_made_up_address_is_refused_and_never_leaves(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("dead");
    let _zone = resolver(&stage, &[CHOSEN]);
    let witness = Capture::start(&stage.app, &stage.app.uplink().name);
    let unknown = ["198.18.77.77:7", "[fd5e:7ee2:0:f8e1::77:77]:7"];
    let unknown = unknown.map(|to| to.parse::<SocketAddr>().expect("an address"));
    let to_pool = |packet: &lab::Packet| is_made_up(packet.destination.ip());
    // The witness does see attempts to reach them.
    for to in unknown {
        stage
            .app
            .udp(Family::of(to.ip()))
            .send_to(to, b"anyone?")
            .expect("there is a route");
        witness.wait_for(|packet| to_pool(packet) && packet.destination == to);
    }
    for on_failure in mount.on_failures() {
        witness.clear();
        let mut setup = setup(mount, &stage, "true", "");
        setup.on_failure = (*on_failure).to_owned();
        let rig = Rig::start(&stage.app, mount, &setup);
        for to in unknown {
            let refused = rig.refusal(to);
            assert!(refused.is_an_error(), "{to}: {refused:?}");
            if mount.steers_udp() {
                let failure = rig.udp(Family::of(to.ip())).ask(to, b"anyone?");
                assert_ne!(
                    failure.expect_err("it is refused"),
                    Failure::TimedOut,
                    "{to}"
                );
            }
        }
        assert_eq!(witness.packets(to_pool), []);
        let records = rig.finish();
        let ours = records.iter().filter(|it| it["app"] != "dns");
        assert!(ours.clone().count() >= 2, "{records:#?}");
        assert!(ours.clone().all(|it| it["outcome"] != "ok"), "{records:#?}");
    }
}
