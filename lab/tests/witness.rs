//! Capture and snapshot: both must see what is there, or their silence proves nothing.

use std::net::SocketAddr;

use lab::{Capture, Cgroup, Direction, Family, Lab, Section, Service, Snapshot};

#[test]
fn a_direct_connection_is_seen_with_its_payload_on_both_ends() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("seen");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve(7, Service::Echo);
    for family in Family::BOTH {
        let captures = [Capture::start(&app, "eth0"), Capture::start(&srv, "eth0")];
        let mut client = app.connect(srv.at(family, 7)).expect("a server listens");
        client.send(b"needle").expect("it receives");
        for (capture, direction) in captures
            .iter()
            .zip([Direction::Outgoing, Direction::Incoming])
        {
            let connects = capture.packets(|packet| packet.is_connect());
            assert_eq!(connects.len(), 1, "{connects:?}");
            assert_eq!(connects[0].direction, direction);
            assert_eq!(
                (connects[0].source, connects[0].destination),
                (client.local(), client.peer())
            );
            assert_eq!(connects[0].family(), family);
        }
        let needles = captures[0]
            .packets(|packet| packet.carries(b"needle") && packet.direction == Direction::Outgoing);
        assert_eq!(needles.len(), 1, "sent before the barrier: {needles:?}");
        assert_eq!(
            (needles[0].length, needles[0].destination),
            (6, client.peer())
        );
        captures[0].clear();
        let local = client.local();
        client.reset();
        captures[0].wait_for(|packet| packet.flags.rst() && packet.source == local);
        assert!(captures[0].packets(|packet| packet.is_connect()).is_empty());
    }
    drop(server);
}

#[test]
fn udp_and_loopback_are_seen_too() {
    lab::require!(Namespaces, Program("ip"));
    let host = Lab::new("lo").host("app");
    let capture = Capture::start(&host, "lo");
    let server = host.serve_udp(0);
    for family in Family::BOTH {
        let destination = SocketAddr::new(family.loopback(), server.port());
        host.ask_udp(destination, b"ping", lab::DEADLINE)
            .expect("it is echoed");
        let asked = capture.packets(|packet| packet.is_udp() && packet.destination == destination);
        assert_eq!(asked.len(), 2, "once in each direction: {asked:?}");
        assert_eq!(asked[0].payload, b"ping");
    }
}

#[test]
fn every_packet_sent_before_the_barrier_is_recorded() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("barrier");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let capture = Capture::start(&srv, "eth0");
    let socket = app
        .enter(|| std::net::UdpSocket::bind("0.0.0.0:0"))
        .expect("a port is free");
    // The first needs address resolution; from the second on nothing waits.
    socket
        .send_to(b"first", srv.at(Family::V4, 9))
        .expect("it is sent");
    capture.wait_for(|packet| packet.is_udp());
    for round in 1..=200 {
        socket
            .send_to(b"next", srv.at(Family::V4, 9))
            .or_else(|_| socket.send_to(b"next", srv.at(Family::V4, 9)))
            .expect("it is sent");
        assert_eq!(
            capture
                .packets(|packet| packet.is_udp() && packet.carries(b"next"))
                .len(),
            round
        );
    }
}

#[test]
fn a_snapshot_changes_nothing_and_equals_the_next() {
    lab::require!(
        Namespaces,
        Program("ip"),
        Program("nft"),
        Program("iptables-nft-save")
    );
    let lab = Lab::new("same");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let before = Snapshot::take(&app).of_host_only();
    let server = srv.serve(7, Service::Echo);
    app.connect(srv.at(Family::V4, 7))
        .expect("a server listens");
    app.connect(srv.at(Family::V6, 7))
        .expect("a server listens");
    assert_eq!(server.wait_ended(2).len(), 2);
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
    assert_eq!(
        app.program("nft")
            .args(["list", "ruleset"])
            .run()
            .expect_success(),
        ""
    );
    assert!(before.lines(Section::Sysctls).len() > 100);
    assert!(
        before
            .lines(Section::Routes)
            .iter()
            .any(|line| line.starts_with("-6 default"))
    );
    assert!(before.lines(Section::IptablesLegacy).is_empty());
}

#[test]
fn every_change_inside_a_host_is_named() {
    lab::require!(
        Namespaces,
        Program("ip"),
        Program("nft"),
        Program("iptables-nft"),
        Program("ip6tables-nft")
    );
    let host = Lab::new("change").host("app");
    let changes: [(&str, &[&str], &str); 10] = [
        ("nft", &["add table inet theirs"], "+table inet theirs"),
        (
            "nft",
            &["add chain inet theirs c { type filter hook output priority 0; policy drop; }"],
            "policy drop",
        ),
        (
            "iptables-nft",
            &["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT"],
            "+-A OUTPUT -p tcp -j REDIRECT",
        ),
        ("ip6tables-nft", &["-t", "mangle", "-N", "MINE"], "+:MINE -"),
        (
            "ip",
            &["rule", "add", "fwmark", "7", "lookup", "100"],
            "fwmark 0x7 lookup 100",
        ),
        (
            "ip",
            &["-6", "rule", "add", "fwmark", "7", "lookup", "100"],
            "+-6 32765:",
        ),
        (
            "ip",
            &[
                "route", "add", "local", "default", "dev", "lo", "table", "100",
            ],
            "+-4 local default dev lo table 100",
        ),
        ("ip", &["link", "add", "pair0", "type", "veth"], "pair0"),
        (
            "ip",
            &["addr", "add", "192.0.2.1/32", "dev", "lo"],
            "192.0.2.1",
        ),
        (
            "sh",
            &["-c", "echo 1 > /proc/sys/net/ipv4/conf/lo/route_localnet"],
            "+net/ipv4/conf/lo/route_localnet=1",
        ),
    ];
    for (program, arguments, named) in changes {
        let before = Snapshot::take(&host).of_host_only();
        host.program(program).args(arguments).run().expect_success();
        let changes = Snapshot::take(&host)
            .changes_since(&before)
            .unwrap_or_default();
        assert!(
            changes.contains(named),
            "{program} {arguments:?} shows as:\n{changes}"
        );
    }
}

#[test]
fn counters_and_handles_are_no_change() {
    lab::require!(
        Namespaces,
        Program("ip"),
        Program("nft"),
        Program("iptables-nft")
    );
    let host = Lab::new("count").host("app");
    let rules = "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c counter accept";
    host.program("nft").arg(rules).run().expect_success();
    host.program("iptables-nft")
        .args(["-A", "OUTPUT", "-j", "ACCEPT"])
        .run()
        .expect_success();
    let before = Snapshot::take(&host).of_host_only();
    let server = host.serve(7, Service::Echo);
    host.connect(host.at(Family::V4, 7))
        .expect("loopback is up");
    server.wait_ended(1);
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn legacy_tables_are_seen_and_empty_ones_can_be_allowed() {
    lab::require!(
        Namespaces,
        Program("ip"),
        Program("iptables-legacy"),
        Program("iptables-legacy-save")
    );
    let host = Lab::new("legacy").host("app");
    let legacy = |words: &[&str]| {
        host.program("iptables-legacy")
            .args(words)
            .run()
            .expect_success()
    };
    let before = Snapshot::take(&host).of_host_only();
    legacy(&["-t", "nat", "-A", "OUTPUT", "-j", "RETURN"]);
    let with_rule = Snapshot::take(&host).of_host_only();
    let changes = with_rule
        .changes_since(&before)
        .expect("a rule is a change");
    assert!(changes.contains("+-A OUTPUT -j RETURN"), "{changes}");
    assert!(
        with_rule
            .without_empty_legacy_tables()
            .changes_since(&before)
            .is_some()
    );
    legacy(&["-t", "nat", "-F", "OUTPUT"]);
    let emptied = Snapshot::take(&host).of_host_only();
    assert!(
        emptied
            .changes_since(&before)
            .expect("the table stays")
            .contains("+*nat")
    );
    emptied
        .without_empty_legacy_tables()
        .assert_same_as(&before);
}

#[test]
fn machine_wide_parts_are_seen_and_can_be_narrowed() {
    lab::require!(Root, Program("ip"));
    let host = Lab::new("wide").host("app");
    let before = Snapshot::take(&host);
    let cgroup = Cgroup::new("wide");
    let after = Snapshot::take(&host).about(cgroup.name());
    let before = before.about(cgroup.name());
    let changes = after.changes_since(&before).expect("a cgroup is a change");
    assert_eq!(changes, format!("== Cgroups\n+{}\n", cgroup.name()));
    let name = cgroup.name().to_owned();
    drop(cgroup);
    Snapshot::wait_same(&host, &before, |snapshot| snapshot.about(&name));
}

#[test]
#[should_panic(expected = "+table inet left_behind")]
fn what_is_left_behind_is_a_panic_that_names_it() {
    if !lab::require(&[lab::Need::Root, lab::Need::Program("nft")]) {
        panic!("+table inet left_behind");
    }
    let host = Lab::new("left").host("app");
    let before = Snapshot::take(&host).of_host_only();
    host.program("nft")
        .arg("add table inet left_behind")
        .run()
        .expect_success();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

/// Loads a program of the name in the second argument and links it to the cgroup in the first; ends with its input.
const ATTACH: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
def bpf(command, attributes):
    attributes = ctypes.create_string_buffer(attributes, 128)
    result = libc.syscall(number, command, attributes, 128)
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result
code = ctypes.create_string_buffer(struct.pack("<QQ", 0x1000000b7, 0x95))
license = ctypes.create_string_buffer(b"GPL")
cgroup_skb, egress = 8, 1
load = struct.pack("<IIQQIIQII16s", cgroup_skb, 2, ctypes.addressof(code), ctypes.addressof(license), 0, 0, 0, 0, 0, sys.argv[2].encode())
program = bpf(5, load)
cgroup = os.open(sys.argv[1], os.O_RDONLY)
link = bpf(28, struct.pack("<IIII", program, cgroup, egress, 0))
print("attached", flush=True)
sys.stdin.read()
"#;

#[test]
fn a_bpf_program_and_its_link_are_seen_and_their_end_too() {
    lab::require!(Namespaces, Cgroup2, Program("ip"), Program("python3"));
    let host = Lab::new("bpf").host("app");
    let cgroup = Cgroup::new("bpf");
    let name = format!("lab_{}", std::process::id());
    let wanted = |_, line: &str| line.contains(&name) || line.contains(cgroup.name());
    let before = Snapshot::take(&host).keep(wanted);
    let holder = host
        .program("python3")
        .args(["-c", ATTACH])
        .arg(cgroup.path())
        .arg(&name)
        .spawn();
    holder.wait_line(|line| line == "attached");
    let after = Snapshot::take(&host).keep(wanted);
    let changes = after.changes_since(&before).expect("a program and a link");
    let link = format!("+link type 3 cgroup {} attach 1\n", cgroup.name());
    assert!(changes.contains(&link), "{changes}");
    assert!(
        changes.contains(&format!("+program {name} type 8 ")),
        "{changes}"
    );
    holder.kill();
    Snapshot::wait_same(&host, &before, |snapshot| snapshot.keep(wanted));
}
