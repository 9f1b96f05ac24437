//! What the engine makes of names, however it came to know them.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

use lab::{Family, Kind, Record, Service, Transport};
use steer_tests::{Login, Mount, Rig, Stage, UpstreamProxy};

use super::dns::{capture, dig, resolver};
use super::fake_ip::{CHOSEN, answered, is_made_up, setup};

/// No byte of the program shows the name, so it can only be known from the answer.
pub(crate) fn a_later_connection_carries_the_name_that_was_asked_for(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("learned");
    let _resolver = resolver(&stage, &["db.a.example"]);
    let (server, _) = stage.serve(5432, Service::Echo);
    let rules = "rules:\n\
                 - { name: db, match: { host: db.a.example, port: [5432, 5433] }, action: direct }\n";
    let rig = Rig::start(&stage.app, mount, &capture(rules));
    for (family, kind) in Family::BOTH.into_iter().zip(["A", "AAAA"]) {
        let to = stage.at(family, 5432);
        dig(&rig,
            stage.srv.address(Family::V4),
            &["db.a.example", kind],
        );
        let mut client = rig.connect(to).expect("the server listens");
        client
            .send(b"\x00\x00\x00\x08")
            .expect("the connection stands");
        assert_eq!(client.receive(4).as_deref(), Ok(&b"\x00\x00\x00\x08"[..]));
        drop(client);
        let record = rig.records().wait_to(to);
        assert_eq!(
            (&record["host"], &record["host_from"]),
            (&"db.a.example".into(), &"dns".into())
        );
        assert_eq!(record["rule"], "db");
    }
    assert_eq!(server.seen().len(), 2);
    if mount.steers_udp() {
        let _server = stage.srv.serve_udp(5433);
        let to = stage.at(Family::V4, 5433);
        rig.udp(Family::V4).ask(to, b"hello").expect("it is echoed");
        let records = rig.finish();
        let record = records
            .iter()
            .find(|it| it["destination"] == to.to_string());
        let record = record.unwrap_or_else(|| panic!("no record: {records:#?}"));
        assert_eq!(
            (&record["host"], &record["host_from"]),
            (&"db.a.example".into(), &"dns".into())
        );
    }
}

pub(crate) fn a_truncated_answer_leads_to_tcp(mount: Mount) {
    lab::require!(Program("dig"));
    let stage = Stage::new("truncated");
    let ip: IpAddr = "192.0.2.7".parse().expect("an address");
    let server = stage
        .srv
        .serve_dns(stage.at(Family::V4, 53), move |query, over| match over {
            Transport::Udp => vec![query.truncated()],
            Transport::Tcp => vec![query.answer(&vec![Record::address(ip, 60); 200])],
        });
    let rig = Rig::start(&stage.app, mount, &capture(""));
    let said = dig(&rig,
        stage.srv.address(Family::V4),
        &["big.a.example", "A"],
    );
    assert_eq!(said, "192.0.2.7\n".repeat(200));
    let over: Vec<_> = server
        .seen()
        .iter()
        .map(|(query, over, _)| (query.kind, *over))
        .collect();
    assert_eq!(over, [(Kind::A, Transport::Udp), (Kind::A, Transport::Tcp)]);
    drop(rig);
}

/// Directly, where the engine asks for the true address, and through a proxy that gets the name.
pub(crate) fn a_made_up_address_leads_to_its_name(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("fakename");
    let _zone = resolver(&stage, &[CHOSEN]);
    let server = stage.srv.serve(7, Service::Echo);
    let udp = stage.srv.serve_udp(7);
    let names = [("www.chosen.example:7", stage.at(Family::V6, 7))];
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::None, &names);
    let corp = format!(
        "upstreams: {{ corp: {{ url: \"socks5://{}\" }} }}\n\
         rules: [ {{ name: chosen, match: {{ host: \"*.chosen.example\" }}, upstream: corp }} ]\n",
        proxy.address()
    );
    for (policy, upstream) in [("", "direct"), (corp.as_str(), "corp")] {
        let rig = Rig::start(&stage.app, mount, &setup(mount, &stage, "true", policy));
        for family in Family::BOTH {
            let ip = answered(&rig, &stage, CHOSEN, family);
            assert!(is_made_up(ip), "{ip}");
            let mut client = rig
                .connect(SocketAddr::new(ip, 7))
                .expect("the name is served");
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            if mount.steers_udp() {
                let to = SocketAddr::new(ip, 7);
                assert_eq!(
                    rig.udp(family).ask(to, b"hello"),
                    Ok((b"hello".to_vec(), to))
                );
            }
        }
        let records = rig.finish();
        let ours: Vec<_> = records.iter().filter(|it| it["app"] != "dns").collect();
        assert_eq!(
            ours.len(),
            if mount.steers_udp() { 4 } else { 2 },
            "{records:#?}"
        );
        for record in ours {
            assert_eq!(
                (&record["host"], &record["host_from"]),
                (&CHOSEN.into(), &"fake-ip".into())
            );
            assert_eq!(
                (&record["upstream"], &record["outcome"]),
                (&upstream.into(), &"ok".into())
            );
        }
    }
    assert_eq!(server.seen().len(), 4);
    assert_eq!(udp.seen().len(), if mount.steers_udp() { 4 } else { 0 });
    assert!(
        proxy
            .asked()
            .iter()
            .all(|it| it.target == "www.chosen.example:7"),
        "{:?}",
        proxy.asked()
    );
}

pub(crate) fn made_up_addresses_outlive_a_restart(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("kept");
    let _zone = resolver(&stage, &[CHOSEN, "ftp.chosen.example"]);
    let _server = stage.srv.serve(7, Service::Echo);
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("our own");
    let file = folder.path().join("names");
    let setup = setup(mount, &stage, &format!("{{ file: \"{}\" }}", file.display()), "");
    let rig = Rig::start(&stage.app, mount, &setup);
    let before = Family::BOTH.map(|family| answered(&rig, &stage, CHOSEN, family));
    drop(rig);
    let rig = Rig::start(&stage.app, mount, &setup);
    // A program that has asked before the restart.
    for ip in before {
        let mut client = rig
            .connect(SocketAddr::new(ip, 7))
            .expect("the name is known");
        client.send(b"hello").expect("the connection stands");
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    }
    // Another name does not get what is taken.
    for (family, before) in Family::BOTH.into_iter().zip(before) {
        assert_ne!(answered(&rig, &stage, "ftp.chosen.example", family), before);
        assert_eq!(answered(&rig, &stage, CHOSEN, family), before);
    }
    let records = rig.finish();
    let named = records.iter().filter(|it| it["host_from"] == "fake-ip");
    assert_eq!(named.count(), 2, "{records:#?}");
}
