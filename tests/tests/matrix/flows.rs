//! Many datagrams, large and small, by real programs and through upstreams.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;

use lab::{Failure, Family, Iperf, Pattern};
use steer_tests::{Datagrams, Login, Mount, Rig, Setup, Stage, UpstreamProxy};

use super::datagrams::record_to;
use super::quic::{CLIENT, NAME, ask};

pub(crate) fn one_socket_speaks_to_two_destinations(mount: Mount) {
    let stage = Stage::new("twodest");
    let servers = [7, 8].map(|port| stage.srv.serve_udp(port));
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let other = SocketAddr::new(stage.another_address(Family::V4, 9), 7);
    let all = [stage.at(Family::V4, 7), stage.at(Family::V4, 8), other];
    let socket = rig.udp(Family::V4);
    for round in 0..3 {
        // All are asked before the first answer is read.
        let words = all.map(|to| format!("{to} {round}").into_bytes());
        for (to, word) in all.iter().zip(&words) {
            socket.send_to(*to, word).expect("it is sent");
        }
        let mut answers: Vec<_> = all
            .iter()
            .map(|_| socket.receive().expect("an answer"))
            .collect();
        let mut meant: Vec<_> = words.into_iter().zip(all).collect();
        answers.sort();
        meant.sort();
        assert_eq!(answers, meant);
    }
    drop(servers);
    drop(socket);
    let records = rig.finish();
    for to in all {
        assert_eq!(record_to(&records, to)["outcome"], "ok");
    }
    assert_eq!(records.len(), 3);
}

pub(crate) fn empty_and_the_largest_datagrams_pass(mount: Mount) {
    let stage = Stage::new("sizes");
    let server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        let socket = rig.udp(family);
        for length in [0, 1, 512, 1_472, 1_473, 9_000, socket.largest(to)] {
            let bytes = Pattern(length as u64).bytes(length);
            let answer = socket.ask(to, &bytes);
            assert!(
                answer == Ok((bytes, to)),
                "{to}: {length} bytes: {}",
                short(answer)
            );
        }
        assert_eq!(server.seen().len() % 7, 0);
    }
}

/// One call of the program, many datagrams: the kernel keeps them in one packet for as long as it
/// can, and the engine must not.
pub(crate) fn a_burst_keeps_its_boundaries(mount: Mount) {
    let stage = Stage::new("burst");
    let server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        let socket = rig.udp_to(to).expect("there is a route");
        let before = server.seen().len();
        let bytes = Pattern(7).bytes(40_300);
        socket.send_segmented(&bytes, 1_000).expect("it is sent");
        let seen = server.wait_for(|seen| seen.len() == before + 41);
        let mut parts: Vec<_> = seen[before..].iter().map(|it| it.payload.clone()).collect();
        let mut meant: Vec<_> = bytes.chunks(1_000).map(<[u8]>::to_vec).collect();
        let mut answers: Vec<_> = (0..41)
            .map(|_| socket.receive().expect("an answer").0)
            .collect();
        // Order is no promise of datagrams.
        for list in [&mut parts, &mut meant, &mut answers] {
            list.sort();
        }
        assert!(parts == meant, "{to}: on the way there");
        assert!(answers == meant, "{to}: on the way back");
    }
    assert_eq!(rig.finish().len(), 2);
}

/// As many programs as there are, each with its own answers.
pub(crate) fn many_flows_are_each_served(mount: Mount) {
    // A SOCKS5 port gives 256 clients a UDP port at a time.
    const MANY: usize = 200;
    let stage = Stage::new("flows");
    let server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let sockets: Vec<_> = (0..MANY).map(|_| rig.udp(Family::V4)).collect();
    let to = stage.at(Family::V4, 7);
    for round in 0..2 {
        for (index, socket) in sockets.iter().enumerate() {
            let word = format!("{index} {round}").into_bytes();
            assert_eq!(socket.ask(to, &word), Ok((word, to)));
        }
    }
    let peers: std::collections::HashSet<_> = server.seen().iter().map(|it| it.peer).collect();
    assert_eq!(peers.len(), MANY, "a flow of its own for each");
    drop(sockets);
    let records = rig.finish();
    assert_eq!(records.len(), MANY);
    assert!(
        records.iter().all(|it| it["outcome"] == "ok"),
        "{:#?}",
        records[0]
    );
}

pub(crate) fn iperf_sends_datagrams(mount: Mount) {
    lab::require!(Program("iperf3"));
    let stage = Stage::new("iperf");
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let server = stage.srv.serve_iperf();
        let client = stage.app.iperf_udp(stage.srv.address(family));
        let counted = Iperf::of(&rig.run(client).expect_success());
        assert!(counted.sent > 800, "{counted:?}");
        assert!(counted.received > counted.sent / 2, "{counted:?}");
        assert_eq!(server.wait(), lab::Status::Exited(0));
    }
    let records = rig.finish();
    let udp: Vec<_> = records
        .iter()
        .filter(|it| it["protocol"] == "udp")
        .collect();
    assert_eq!(udp.len(), 2, "{records:#?}");
    // A server that has ended refuses the last ones; half has arrived, as asserted above.
    assert!(
        udp.iter().all(|it| it["sent"].as_u64() > Some(500_000)),
        "{records:#?}"
    );
}

/// A handshake of several flights with datagrams of all sizes, by a program that knows nothing.
pub(crate) fn openssl_speaks_dtls(mount: Mount) {
    lab::require!(Program("openssl"));
    let stage = Stage::new("dtls");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let words = folder.path().join("words");
    stage
        .app
        .program("mkfifo")
        .arg(&words)
        .run()
        .expect_success();
    let make = [
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    let make = stage
        .srv
        .program("openssl")
        .args(make)
        .args(["-subj", "/CN=lab", "-keyout"]);
    make.arg(&key)
        .arg("-out")
        .arg(&certificate)
        .run()
        .expect_success();
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let at = stage.at(family, 4433);
        let flag = if at.is_ipv6() { "-6" } else { "-4" };
        let serve = [
            "s_server",
            "-dtls",
            flag,
            "-accept",
            &at.to_string(),
            "-key",
        ];
        let server = stage.srv.program("openssl").args(serve).arg(&key);
        let server = server.arg("-cert").arg(&certificate).spawn();
        server.wait_line(|line| line.starts_with("ACCEPT"));
        let script = format!("exec openssl s_client -dtls {flag} -connect {at} < $1");
        let client = stage.app.program("sh").args(["-c", &script, "sh"]);
        let client = client.arg(&words);
        let said = thread::scope(|scope| {
            let client = scope.spawn(|| rig.run(client));
            // Opened once the client does; it reads after the handshake.
            let mut input = File::options().write(true).open(&words).expect("a pipe");
            input.write_all(b"words over datagrams\n").expect("it is read");
            server.wait_line(|line| line.contains("words over datagrams"));
            drop(input);
            client.join().expect("it ends")
        });
        assert!(said.stdout.contains("Verify return code"), "{said:#?}");
    }
    let records = rig.finish();
    assert_eq!(records.len(), 2, "{records:#?}");
    assert!(
        records.iter().all(|it| it["outcome"] == "ok"),
        "{records:#?}"
    );
}

pub(crate) fn a_rejecting_rule_refuses_datagrams(mount: Mount) {
    let stage = Stage::new("rejectudp");
    let server = stage.srv.serve_udp(7);
    let other = stage.srv.serve_udp(8);
    let rules = "rules: [ { name: nobody, match: { port: [7], protocol: udp }, action: reject } ]";
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));
    for family in Family::BOTH {
        let failure = rig.udp(family).ask(stage.at(family, 7), b"hello");
        let failure = failure.expect_err("it is refused");
        assert_ne!(failure, Failure::TimedOut, "refused, not dropped");
        let to = stage.at(family, 8);
        assert_eq!(
            rig.udp(family).ask(to, b"hello"),
            Ok((b"hello".to_vec(), to))
        );
    }
    assert_eq!((server.seen().len(), other.seen().len()), (0, 2));
    let records = rig.finish();
    let denied: Vec<_> = records
        .iter()
        .filter(|it| it["outcome"] == "denied")
        .collect();
    assert_eq!(denied.len(), 2, "{records:#?}");
    assert!(
        denied.iter().all(|it| it["rule"] == "nobody"),
        "{records:#?}"
    );
}

/// UDP ASSOCIATE, with a login, in both families.
pub(crate) fn an_upstream_over_socks5_carries_datagrams(mount: Mount) {
    let stage = Stage::new("upudp");
    let server = stage.srv.serve_udp(7);
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::Required, &[]);
    let policy = format!(
        "upstreams: {{ corp: {{ url: \"socks5://me:pw@{}\" }} }}\n\
         rules: [ {{ upstream: corp }} ]\n",
        proxy.address()
    );
    let rig = Rig::start(&stage.app, mount, &Setup::policy(policy));
    let mut sockets: Vec<(Datagrams, SocketAddr)> = Vec::new();
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        let socket = rig.udp(family);
        for length in [5, 0, 1_400] {
            let bytes = Pattern(3).bytes(length);
            assert_eq!(socket.ask(to, &bytes), Ok((bytes, to)), "{to}");
        }
        sockets.push((socket, to));
    }
    // The proxy is on the server's own host, and has its address.
    assert!(
        server
            .seen()
            .iter()
            .all(|it| stage.srv.address(Family::of(it.peer.ip())) == it.peer.ip())
    );
    let asked = proxy.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for (request, (_, to)) in asked.iter().zip(&sockets) {
        assert_eq!(
            (request.protocol, request.target.as_str()),
            ("socks5 udp", &*to.to_string())
        );
        assert_eq!(request.login.as_deref(), Some("me:pw"));
    }
    drop(sockets);
    let records = rig.finish();
    assert!(
        records.iter().all(|it| it["upstream"] == "corp"),
        "{records:#?}"
    );
    assert_eq!(records.len(), 2);
}

pub(crate) fn an_upstream_over_http_cannot_carry_datagrams(mount: Mount) {
    let stage = Stage::new("httpudp");
    let server = stage.srv.serve_udp(7);
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::None, &[]);
    let policy = format!(
        "upstreams: {{ corp: {{ url: \"http://{}\" }} }}\nrules: [ {{ upstream: corp }} ]\n",
        proxy.address()
    );
    let rig = Rig::start(&stage.app, mount, &Setup::policy(policy));
    let failure = rig.udp(Family::V4).ask(stage.at(Family::V4, 7), b"hello");
    assert_ne!(failure.expect_err("it is refused"), Failure::TimedOut);
    assert_eq!(server.seen(), []);
    let records = rig.finish();
    assert_ne!(records[0]["outcome"], "ok");
    let why = records[0]["error"]
        .as_str()
        .unwrap_or_default()
        .to_lowercase();
    assert!(
        why.contains("udp") || why.contains("datagram"),
        "{records:#?}"
    );
}

pub(crate) fn quic_is_steered_and_shows_its_name(mount: Mount) {
    lab::require!(Quic);
    let stage = Stage::new("quic");
    let server = stage.srv.serve_web(443);
    let setup = Setup {
        traffic: "{ quic: steer }".to_owned(),
        user: CLIENT,
        ..Setup::policy(
            "rules: [ { name: web, match: { host: \"*.a.example\" }, action: direct } ]",
        )
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    for family in Family::BOTH {
        assert_eq!(ask(&rig, &stage, family), "h3 200 200000\n");
    }
    assert_eq!(server.seen().len(), 2);
    let records = rig.finish();
    assert_eq!(records.len(), 2, "{records:#?}");
    for record in records {
        assert_eq!(
            (&record["protocol"], &record["app"]),
            (&"udp".into(), &"quic".into())
        );
        assert_eq!(
            (&record["host"], &record["host_from"]),
            (&NAME.into(), &"quic".into())
        );
        assert_eq!(
            (&record["rule"], &record["outcome"]),
            (&"web".into(), &"ok".into())
        );
        assert!(record["received"].as_u64() > Some(200_000), "{record:#?}");
    }
}

fn short(answer: Result<(Vec<u8>, SocketAddr), Failure>) -> String {
    match answer {
        Ok((bytes, from)) => format!("{} bytes from {from}", bytes.len()),
        Err(failure) => format!("{failure:?}"),
    }
}
