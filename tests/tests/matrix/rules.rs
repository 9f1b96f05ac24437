//! Rules decide, and upstreams are asked in the client's place.

use std::time::{Duration, Instant};

use lab::{Agent, Client, Family, Server, Service};
use steer_tests::{Login, Mount, Refused, Rig, Setup, Speech, Stage, UpstreamProxy};

pub(crate) fn an_upstream_over_socks5_gets_the_login(mount: Mount) {
    asked_with_login(mount, "socks5", "me:p w");
}

pub(crate) fn an_upstream_over_http_gets_the_login(mount: Mount) {
    // The base64 of `me:p w`.
    asked_with_login(mount, "http", "bWU6cCB3");
}

/// The upstream is asked, gets the login, and makes the connection to the server.
fn asked_with_login(mount: Mount, scheme: &'static str, login: &str) {
    let stage = Stage::new("login");
    let server = stage.srv.serve(7, Service::Echo);
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::Required, &[]);
    let policy = format!(
        "upstreams:\n  corp:\n    url: \"{scheme}://{}\"\n    username: me\n    password: p w\n\
         rules: [ {{ name: all, upstream: corp }} ]\n",
        proxy.address()
    );
    let rig = Rig::start(&stage.app, mount, &Setup::policy(policy));
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        echo(rig.connect(to).expect("the server listens"));
        let record = rig.records().wait_to(to);
        assert_eq!((&record["rule"], &record["upstream"]), (&"all".into(), &"corp".into()));
        assert_eq!(record["outcome"], "ok");
        assert_eq!((&record["sent"], &record["received"]), (&5.into(), &5.into()));
    }
    let asked = proxy.asked();
    let targets: Vec<_> = asked.iter().map(|it| it.target.clone()).collect();
    assert_eq!(targets, Family::BOTH.map(|family| stage.at(family, 7).to_string()));
    for asked in asked {
        assert_eq!((asked.protocol, asked.login.as_deref()), (scheme, Some(login)));
    }
    // The proxy's own connections, never the engine's.
    let seen = server.wait_ended(2);
    let peers: Vec<_> = seen.iter().map(|one| one.peer.ip()).collect();
    assert_eq!(peers, Family::BOTH.map(|family| stage.srv.address(family)));
}

pub(crate) fn an_upstream_that_wants_a_login_refuses_whoever_gives_none(mount: Mount) {
    for scheme in ["socks5", "http"] {
        let stage = Stage::new("nologin");
        let (server, to) = stage.serve(7, Service::Echo);
        let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::Required, &[]);
        let rig = Rig::start(&stage.app, mount, &upstream(scheme, &proxy, ""));
        let refused = rig.refusal(to);
        assert!(refused.is_an_error(), "{refused:?}");
        let record = rig.records().wait_to(to);
        let error = record["error"].as_str().expect("words");
        assert!(error.contains("credentials"), "{error}");
        assert_eq!((proxy.asked(), server.seen()), (Vec::new(), Vec::new()));
    }
}

/// A rule by name waits for the name; the upstream is given the name, and resolves it its own way.
pub(crate) fn a_name_in_a_tls_hello_goes_to_the_upstream(mount: Mount) {
    named(mount, "match: { host: \"*.example\" }, ", &hello("inner.example"), "sni", "tls");
}

pub(crate) fn a_name_in_an_http_request_goes_to_the_upstream(mount: Mount) {
    let request = b"GET / HTTP/1.1\r\nHost: inner.example\r\n\r\n";
    named(mount, "match: { host: \"*.example\" }, ", request, "http", "http1");
}

/// A real client's hello is large, comes in several segments, and has more in it.
pub(crate) fn the_name_of_a_real_tls_client_goes_to_the_upstream(mount: Mount) {
    lab::require!(Program("curl"));
    let stage = Stage::new("curl");
    let (server, to) = stage.serve(443, Service::Finish);
    let names = [("inner.example:443", to)];
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::None, &names);
    let setup = upstream("socks5", &proxy, "match: { host: \"*.example\" }, ");
    let rig = Rig::start(&stage.app, mount, &setup);
    let through = rig.entrance().map(|at| match mount.speech() {
        Speech::Socks5 => format!("socks5://{at}"),
        _ => format!("http://{at}"),
    });
    // The address is asked for, the name stands in the hello alone.
    let curl = stage
        .app
        .program("curl")
        .args(["-sS", "--max-time", "15", "--noproxy", ""])
        .args(["--connect-to", &format!("::{to}")])
        .args(through.iter().flat_map(|url| ["--proxy", url]))
        .arg("https://inner.example/");
    let output = rig.run(curl);
    // 35: the server finished within the handshake.
    assert_eq!(output.status, lab::Status::Exited(35), "{output:#?}");
    assert_eq!(proxy.asked()[0].target, "inner.example:443");
    assert_eq!(server.seen().len(), 1);
    let record = rig.records().wait_to(to);
    assert_eq!((&record["app"], &record["host_from"]), (&"tls".into(), &"sni".into()));
}

/// A rule without conditions needs no name, but an upstream is asked by name where one shows up.
pub(crate) fn names_are_found_for_an_upstream_that_no_rule_asks_them_for(mount: Mount) {
    named(mount, "", &hello("inner.example"), "sni", "tls");
}

fn named(mount: Mount, condition: &str, first: &[u8], from: &str, app: &str) {
    for scheme in ["socks5", "http"] {
        // The engine listens for a name for a moment. A client that gets no processor then speaks
        // too late, and says nothing about the case.
        let in_time = (0..10).any(|_| named_by(mount, scheme, condition, first, (from, app)));
        assert!(in_time, "a client never spoke within {HEARD:?}");
    }
}

/// Whether the client spoke in time; what follows from that has been looked at then.
fn named_by(
    mount: Mount,
    scheme: &'static str,
    condition: &str,
    first: &[u8],
    (from, app): (&str, &str),
) -> bool {
    let stage = Stage::new("named");
    let right = stage.srv.serve(4443, Service::Echo);
    let (wrong, to) = stage.serve(443, Service::Echo);
    let names = [("inner.example:443", stage.at(Family::V6, 4443))];
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::None, &names);
    let rig = Rig::start(&stage.app, mount, &upstream(scheme, &proxy, condition));
    let begun = Instant::now();
    let mut client = rig.connect(to).expect("the engine takes it");
    // In two parts, so that the name is cut.
    let (head, tail) = first.split_at(first.len() - 9);
    client.send(head).expect("the connection stands");
    client.send(tail).expect("the connection stands");
    if begun.elapsed() >= HEARD {
        return false;
    }
    assert_eq!(client.receive(first.len()).as_deref(), Ok(first));
    drop(client);
    let asked = proxy.wait_asked(1);
    assert_eq!((asked[0].protocol, asked[0].target.as_str()), (scheme, "inner.example:443"));
    assert_eq!((right.seen()[0].head.as_slice(), wrong.seen()), (first, Vec::new()));
    let record = rig.records().wait_to(to);
    assert_eq!(record["host"], "inner.example");
    assert_eq!((&record["host_from"], &record["app"]), (&from.into(), &app.into()));
    true
}

/// Less than the engine listens for a name that a connection has not shown yet.
const HEARD: Duration = Duration::from_millis(250);

pub(crate) fn a_name_asked_for_goes_to_the_upstream_as_it_is(mount: Mount) {
    let stage = Stage::new("byname");
    let server = stage.srv.serve(7, Service::Echo);
    let names = [("db.internal:5432", stage.at(Family::V4, 7))];
    let proxy = UpstreamProxy::start(&stage.srv, 1080, Login::None, &names);
    let rig = Rig::start(&stage.app, mount, &upstream("socks5", &proxy, ""));
    echo(rig.connect_to_name("db.internal", 5432).expect("the proxy knows it"));
    assert_eq!(proxy.asked()[0].target, "db.internal:5432");
    assert_eq!(server.seen().len(), 1);
    let record = rig.records().wait_to("db.internal:5432");
    assert_eq!((&record["host"], &record["host_from"]), (&"db.internal".into(), &"connect".into()));
}

pub(crate) fn the_first_rule_that_matches_decides(mount: Mount) {
    let stage = Stage::new("first");
    let servers: Vec<Server> = [7, 8, 9].map(|port| stage.srv.serve(port, Service::Echo)).into();
    let rules = format!(
        "rules:\n\
         - {{ name: seven, match: {{ port: [7] }}, action: direct }}\n\
         - {{ name: net6, match: {{ cidr: [\"{}/128\"], port: [8] }}, action: direct }}\n\
         - {{ name: low, match: {{ port: [1-8] }}, action: reject }}\n\
         - {{ name: never, match: {{ port: [7] }}, action: reject }}\n",
        stage.srv.address(Family::V6)
    );
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));
    let cases = [
        (stage.at(Family::V4, 7), Some("seven"), "ok"),
        (stage.at(Family::V6, 8), Some("net6"), "ok"),
        (stage.at(Family::V4, 8), Some("low"), "denied"),
        (stage.at(Family::V4, 9), None, "ok"),
    ];
    for (to, rule, outcome) in cases {
        match outcome {
            "ok" => echo(rig.connect(to).expect("the server listens")),
            _ => assert!(rig.refusal(to).is_an_error(), "{to}"),
        }
        let record = rig.records().wait_to(to);
        assert_eq!((record["rule"].as_str(), record["outcome"].as_str()), (rule, Some(outcome)));
    }
    let counts: Vec<_> = servers.iter().map(|server| server.seen().len()).collect();
    assert_eq!(counts, [1, 1, 1]);
}

pub(crate) fn a_rule_by_user_decides(mount: Mount) {
    lab::require!(Root);
    let stage = Stage::new("byuser");
    let (server, to) = stage.serve(7, Service::Echo);
    let [first, second] = [2001, 2002].map(|id| {
        Agent::start(stage.app.program("env").args(Agent::command_line("agent")).user(id))
    });
    let rules = "rules: [ { name: his, match: { uid: 2001 }, action: reject } ]";
    // Without a login, the port of a command serves one user.
    let login = "listen: { auth: { username: me, password: p w } }";
    let by = |rig: &Rig, agent: &Agent| match mount {
        Mount::Env => {
            let entrance = rig.entrance().expect("the method has a port");
            let mut client = agent.connect(entrance).map_err(Refused::Connect)?;
            // The base64 of `me:p w`.
            steer_tests::connect_with_login(&mut client, to, "bWU6cCB3").map(|()| client)
        }
        _ => rig.connect_by(to, |to| agent.connect(to)),
    };
    let policy = match mount {
        Mount::Env => format!("{rules}\n{login}\n"),
        _ => rules.to_owned(),
    };
    let rig = Rig::start(&stage.app, mount, &Setup::policy(policy));
    let refused = steer_tests::refusal_of(by(&rig, &first));
    assert!(refused.is_an_error(), "{refused:?}");
    let granted = by(&rig, &second);
    echo(granted.expect("the server listens"));
    let records = rig.records().wait_for(2);
    let said = |uid: u32| {
        let mut of = records.iter().filter(|record| record["uid"] == uid);
        let record = of.next().expect("a record of each user");
        (record["rule"].as_str(), record["outcome"].as_str())
    };
    assert_eq!(said(2001), (Some("his"), Some("denied")));
    assert_eq!(said(2002), (None, Some("ok")));
    assert_eq!(server.seen().len(), 1);
}

fn upstream(scheme: &str, proxy: &UpstreamProxy, condition: &str) -> Setup {
    Setup::policy(format!(
        "upstreams: {{ corp: {{ url: \"{scheme}://{}\" }} }}\n\
         rules: [ {{ {condition}upstream: corp }} ]\n",
        proxy.address()
    ))
}

fn echo(mut client: Client) {
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    client.finish();
    assert_eq!(client.receive_all(), (Vec::new(), lab::End::Fin));
}

/// A ClientHello of TLS 1.3 with a server name (RFC 8446, section 4.1.2; RFC 6066, section 3).
fn hello(name: &str) -> Vec<u8> {
    let counted = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("short");
        [&length.to_be_bytes()[..], bytes].concat()
    };
    let names = [&[0][..], &counted(name.as_bytes())].concat();
    let server_name = [&[0, 0][..], &counted(&counted(&names))].concat();
    let versions = [&[0, 43][..], &counted(&[2, 3, 4])].concat();
    let extensions = counted(&[server_name, versions].concat());
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &counted(&[0x13, 0x01]),
        &[1, 0],
        &extensions,
    ]
    .concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &counted(&handshake)].concat()
}
