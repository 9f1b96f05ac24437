//! The engine does not talk to itself, however its address is spelled.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use lab::{Client, Family, Host, Service};
use steer_tests::{Mount, Rig, Setup, Stage, refusal_of};

/// The listener of a transparent method takes only what was steered to it.
pub(crate) fn the_listener_cannot_be_dialled_in_any_spelling(mount: Mount) {
    let choices = match mount {
        Mount::Tun | Mount::Tap => &["skip"][..],
        _ => &["skip", "steer"],
    };
    for loopback in choices {
        let stage = Stage::new("listener");
        let (_server, other) = stage.serve(7, Service::Echo);
        let setup = Setup {
            traffic: format!("{{ loopback: {loopback} }}"),
            policy: format!("listen: {{ outbound: {PORT} }}\n"),
            ..Setup::default()
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        let descriptors = descriptors(&rig);
        for ip in spellings(&stage.app) {
            let to = SocketAddr::new(ip, PORT);
            let refused = refusal_of(rig.connect(to));
            assert!(refused.is_an_error(), "loopback {loopback}, {to}: {refused:?}");
        }
        works_on(&rig, other);
        // Each attempt is one connection at most, and none of them is served. Those to the
        // listener's own address are refused before they have a record.
        let served = other.to_string();
        let records = rig.records().wait("the record of what works", |records| {
            records.iter().any(|record| record["destination"] == served)
        });
        assert!(records.len() <= spellings(&stage.app).len() + 1, "{records:#?}");
        for record in records {
            let right = record["destination"] == other.to_string();
            assert_eq!(record["outcome"] == "ok", right, "{record:?}");
        }
        lab::eventually("the descriptors are closed", || {
            (self::descriptors(&rig) <= descriptors).then_some(())
        });
    }
}

/// A proxy port that is asked for itself says no, and says that it is a loop.
pub(crate) fn a_proxy_port_cannot_be_asked_for_itself_in_any_spelling(mount: Mount) {
    for listen in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
        let stage = Stage::new("itself");
        let (_server, other) = stage.serve(7, Service::Echo);
        let listen = SocketAddr::new(listen.parse().expect("an address"), PORT);
        if mount == Mount::Env && !listen.ip().is_loopback() {
            continue;
        }
        let rig = Rig::start(&stage.app, mount, &Setup { listen, ..Setup::default() });
        let entrance = reachable(rig.entrance().expect("a proxy port"));
        let descriptors = descriptors(&rig);
        for ip in spellings(&stage.app) {
            let to = SocketAddr::new(ip, entrance.port());
            let asked = ask(&rig, &stage.app, entrance, to);
            let refused = refusal_of(asked);
            assert!(refused.is_an_error(), "{listen} asked for {to}: {refused:?}");
        }
        let mut by_name = stage.app.connect(entrance).expect("the port is there");
        let asked = rig.speech().ask_name(&mut by_name, "localhost", entrance.port());
        let refused = refusal_of(asked.map(|()| by_name));
        assert!(refused.is_an_error(), "{listen} asked for localhost: {refused:?}");

        let count = spellings(&stage.app).len() + 1;
        let records = rig.records().wait_for(count);
        assert_eq!(records.len(), count, "{records:#?}");
        let outcome = |to: String| {
            let mut of = records.iter().filter(|record| record["destination"] == to);
            of.next().map(|record| record["outcome"].clone())
        };
        // Where it really listens, it knows itself.
        let own = outcome(SocketAddr::new(entrance.ip(), entrance.port()).to_string());
        assert_eq!(own, Some("loop".into()), "{listen}: {records:#?}");
        // The name may have no other address than the one of IPv4.
        if listen.ip() != Family::V6.loopback() {
            let named = outcome(format!("localhost:{}", entrance.port()));
            assert_eq!(named, Some("loop".into()), "{listen}: {records:#?}");
        }
        let known = ["loop", "refused"];
        let all_known = |it: &steer_tests::Record| {
            known.iter().any(|outcome| it["outcome"] == *outcome)
        };
        assert!(records.iter().all(all_known), "{listen}: {records:#?}");

        let mut client = ask(&rig, &stage.app, entrance, other).expect("the server listens");
        client.send(b"hello").expect("the connection stands");
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
        drop(client);
        lab::eventually("the descriptors are closed", || {
            (self::descriptors(&rig) <= descriptors).then_some(())
        });
    }
}

fn ask(
    rig: &Rig,
    host: &Host,
    entrance: SocketAddr,
    to: SocketAddr,
) -> Result<Client, steer_tests::Refused> {
    let mut client = host.connect(entrance).expect("the port is there");
    rig.speech().ask(&mut client, to)?;
    Ok(client)
}

/// Every way to write an address that leads to this host itself.
fn spellings(host: &Host) -> Vec<IpAddr> {
    let fixed = [
        "127.0.0.1",
        "127.0.0.2",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
    ];
    let fixed = fixed.iter().map(|text| text.parse().expect("an address"));
    let own = Family::BOTH.map(|family| host.address(family));
    let IpAddr::V4(own4) = own[0] else {
        panic!("the first family is IPv4")
    };
    fixed.chain(own).chain([own4.to_ipv6_mapped().into()]).collect()
}

/// A listener on every address is reached at loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if ip.is_unspecified() => {
            SocketAddr::new(Family::of(ip).loopback(), listen.port())
        }
        _ => listen,
    }
}

fn works_on(rig: &Rig, to: SocketAddr) {
    let mut client = rig.connect(to).expect("the server listens");
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
}

/// How many descriptors the engine has open.
fn descriptors(rig: &Rig) -> usize {
    let path = format!("/proc/{}/fd", rig.proc().pid());
    fs::read_dir(path).expect("the engine runs").count()
}

const PORT: u16 = 15_001;
