//! Sessions of HTTP by every method: each request is asked about, upgrades survive, and failures
//! are told by status.

use lab::{Client, End, Family, Service};
use steer_tests::{Mount, Rig, Setup, Stage, mounted};

macro_rules! for_each_method {
    ($($module:ident $mount:ident)*) => {
        $(mod $module {
            #[test]
            fn requests_of_one_connection_are_asked_about_one_by_one() {
                super::mounted(
                    super::Mount::$mount,
                    "requests_of_one_connection_are_asked_about_one_by_one",
                    super::requests_of_one_connection_are_asked_about_one_by_one,
                );
            }

            #[test]
            fn upgrades_survive_and_dead_servers_are_a_status() {
                super::mounted(
                    super::Mount::$mount,
                    "upgrades_survive_and_dead_servers_are_a_status",
                    super::upgrades_survive_and_dead_servers_are_a_status,
                );
            }
        })*
    };
}

for_each_method! {
    redirect_nft RedirectNft
    redirect_iptables RedirectIptables
    redirect_legacy RedirectLegacy
    tproxy_nft TproxyNft
    tproxy_iptables TproxyIptables
    tproxy_legacy TproxyLegacy
    ebpf Ebpf
    tun Tun
    tap Tap
    env Env
    explicit_connect ExplicitConnect
    explicit_socks5 ExplicitSocks5
    dns_alone Dns
    netns Netns
    seccomp Seccomp
    preload Preload
}

fn requests_of_one_connection_are_asked_about_one_by_one(mount: Mount) {
    let stage = Stage::new("onebyone");
    let (server, to) = stage.serve(80, Service::Echo);
    let rules = "rules:\n\
        - { name: closed, match: { path: [\"/admin*\"] }, action: reject }\n\
        - { name: said, match: { path: [/said] }, http: { respond: { status: 203, body: here } } }\n";
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));
    let mut client = rig.connect(to).expect("the engine takes it");
    for (path, status) in [("/admin/x", 403), ("/said", 203), ("/%61dmin", 403)] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        client
            .send(request.as_bytes())
            .expect("the connection stands");
        let head = head(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.expect("a length").parse().expect("a number");
        client.receive(length).expect("the body");
    }
    drop(client);
    let record = &rig.records().wait_for(1)[0];
    assert_eq!(
        (&record["requests"], &record["app"]),
        (&3.into(), &"http1".into())
    );
    assert_eq!(server.seen(), []);
}

fn head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.receive(1).expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

fn upgrades_survive_and_dead_servers_are_a_status(mount: Mount) {
    lab::require!(Program("python3"));
    let stage = Stage::new("upgrade");
    let address = stage.srv.address(Family::V4).to_string();
    let server = stage
        .srv
        .program("python3")
        .args(["-u", "-c", UPGRADING, &address])
        .spawn();
    server.wait_line(|line| line == "serving");
    let rules = "rules: { name: all, http: { request: { set: { x-team: blue } } } }\n";
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));

    let mut client = rig
        .connect(stage.at(Family::V4, 80))
        .expect("the engine takes it");
    let request = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\n\r\n";
    client.send(request.as_bytes()).expect("it stands");
    let switching = head(&mut client);
    assert!(switching.starts_with("HTTP/1.1 101 "), "{switching}");
    assert!(switching.contains("X-Team: blue\r\n"), "{switching}");
    let frames: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    for part in frames.chunks(8 * 1024) {
        client.send(part).expect("it stands");
        assert_eq!(client.receive(part.len()).as_deref(), Ok(part));
    }
    client.finish();
    assert_eq!(client.receive_all(), (b"bye".to_vec(), End::Fin));

    // Where nothing listens; the program is connected to the engine all the same.
    let mut client = rig
        .connect(stage.at(Family::V4, 9))
        .expect("the engine takes it");
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    client.send(request).expect("it stands");
    let (answer, end) = client.receive_all();
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(end, End::Fin);
    let requests = rig.records().wait_for_requests(2);
    let statuses: Vec<_> = requests.iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [101, 502]);
    assert_eq!(requests[1]["outcome"], "refused");
}

/// Switches protocols, and echoes until the client has ended.
const UPGRADING: &str = r#"
import socket, sys
listener = socket.create_server((sys.argv[1], 80))
print("serving")
stream, _ = listener.accept()
head = b""
while not head.endswith(b"\r\n\r\n"):
    head += stream.recv(1)
team = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"x-team")][0]
stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
               b"Upgrade: websocket\r\nX-Team: " + team + b"\r\n\r\n")
while part := stream.recv(65536):
    stream.sendall(part)
stream.sendall(b"bye")
stream.close()
"#;
