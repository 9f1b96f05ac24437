//! The method that has nothing but a resolver: each chosen name has an address of the engine's.

use std::net::{IpAddr, SocketAddr};

use lab::{Family, Service};
use steer_tests::{Mount, Refused, Rig, Setup, Stage, refusal_of};

use super::dns::resolver;

const CHOSEN: &str = "db.chosen.example";
const BELOW: &str = "a.wild.example";
const OTHER: &str = "www.other.example";

fn setup(stage: &Stage) -> Setup {
    let at = stage.srv.address(Family::V4);
    let include = format!("domains: [{CHOSEN}, \"*.wild.example\"], ports: [7, 8000-8001]");
    Setup {
        traffic: format!("{{ include: {{ {include} }} }}"),
        ..Setup::policy(format!(
            "dns: {{ resolver: \"{at}\" }}\nlisten: {{ dns: 53 }}\n"
        ))
    }
}

fn dig(rig: &Rig, words: &[&str]) -> String {
    super::dns::dig(rig, RESOLVER.parse().expect("an address"), words)
}

fn address(rig: &Rig, name: &str) -> IpAddr {
    let said = dig(rig, &[name, "A"]);
    said.trim_end()
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}: {said}"))
}

pub(crate) fn a_chosen_name_answers_with_an_address_of_the_engine(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("byname");
    let _zone = resolver(&stage, &[CHOSEN, BELOW, OTHER]);
    let servers = [7, 8001].map(|port| stage.srv.serve(port, Service::Echo));
    let rig = Rig::start(&stage.app, mount, &setup(&stage));
    let (chosen, below) = (address(&rig, CHOSEN), address(&rig, BELOW));
    assert!(chosen.is_loopback() && below.is_loopback() && chosen != below);
    assert_eq!(dig(&rig, &["+tcp", CHOSEN, "A"]), format!("{chosen}\n"));
    // Loopback has one address of IPv6, so names have none there.
    assert_eq!(dig(&rig, &[CHOSEN, "AAAA"]), "");
    assert_eq!(address(&rig, OTHER), stage.srv.address(Family::V4));
    for (ip, name) in [(chosen, CHOSEN), (below, BELOW)] {
        for server in &servers {
            let to = SocketAddr::new(ip, server.port());
            let mut client = stage.app.connect(to).expect("the engine listens");
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            let seen = server.seen();
            let local = seen.last().expect("it was asked").local;
            assert_eq!(local.port(), server.port());
            assert!(
                Family::BOTH
                    .map(|family| stage.srv.address(family))
                    .contains(&local.ip())
            );
            let local = client.local().to_string();
            drop(client);
            let found = rig.records().wait("the record", |records| {
                records.iter().any(|it| it["client"] == local)
            });
            let record = found
                .iter()
                .find(|it| it["client"] == local)
                .expect("waited for");
            assert_eq!(
                (&record["host"], &record["outcome"]),
                (&name.into(), &"ok".into())
            );
            assert_eq!(record["method"], "dns");
        }
    }
}

/// The method cannot know which ports a program will ask for, and says so.
pub(crate) fn a_port_that_was_not_asked_for_is_not_served(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("byport");
    let _zone = resolver(&stage, &[CHOSEN]);
    let server = stage.srv.serve(9, Service::Echo);
    let rig = Rig::start(&stage.app, mount, &setup(&stage));
    let to = SocketAddr::new(address(&rig, CHOSEN), 9);
    let refused = refusal_of(stage.app.connect(to).map_err(Refused::Connect));
    assert!(refused.is_an_error(), "{refused:?}");
    assert_eq!(server.seen(), []);
    let config = rig.folder().join("steer.yaml");
    let plan = stage
        .app
        .program(steer_tests::steer())
        .args(["plan", "-m", "dns", "-c"]);
    let plan = plan.arg(config).run();
    let said = plan.stdout + &plan.stderr;
    assert!(said.contains("port"), "{said}");
}

/// Where the resolver of the method is.
const RESOLVER: &str = "127.83.0.1";
