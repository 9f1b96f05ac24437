//! TCP: whoever connects sees the peer that it asked for, the engine sees a token.

use std::net::Ipv4Addr;

use lab::{Lab, require};

use crate::bench::{Bench, host, text};
use steer_ebpf::abi::{
    COUNT_REFUSED, COUNT_RIDDEN, COUNT_TAKEN, DO_CLOSED, DO_TAKE, DO_TCP, PLACE_EXTERNAL, PLACE_V4,
    PLACE_V6, TOKEN_BITS_V4, TOKEN_LAST, TOKEN_NET_V4, TOKENS_MOST,
};

const FLAGS: u32 = DO_TAKE | DO_CLOSED | DO_TCP;

#[test]
fn every_way_to_connect_is_taken_under_a_token_of_its_own() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("streams", FLAGS, TOKENS_MOST);
    let connect = |family: &str, to: &str, before: &str| {
        format!("s = opened({family}); {before}; s.connect({to}); s.sendall(b'x')\n")
    };
    let ways = [
        (connect("2", "('203.0.113.7', 443)", "0"), "203.0.113.7"),
        (connect("10", "('2001:db8::9', 443)", "0"), "2001:db8::9"),
        (
            connect("10", "('2001:db8::9', 443)", "s.setsockopt(41, 26, 1)"),
            "2001:db8::9",
        ),
        (
            connect("10", "('::ffff:203.0.113.7', 443)", "0"),
            "::ffff:203.0.113.7",
        ),
        (
            connect("2", "('203.0.113.7', 443)", "s.bind(('198.51.100.1', 0))"),
            "203.0.113.7",
        ),
        (
            "s = opened(2); s.settimeout(None); s.sendto(b'x', 0x20000000, ('203.0.113.7', 443))\n"
                .to_owned(),
            "203.0.113.7",
        ),
    ];
    for (n, (way, peer)) in ways.iter().enumerate() {
        let said = bench.run(&format!(
            "{way}me = s.getsockname(); print(s.getpeername()[0], s.getpeername()[1])\n\
             print(me[0], me[1], s.getsockopt(6, 13, 4).decode())\nprint(asked(s))"
        ));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], format!("{peer} 443"), "{way}");
        let own: Vec<&str> = lines[1].split(' ').collect();
        assert_eq!(own[2], "reno", "{way}");
        let seen: Vec<&str> = lines[2].split(' ').collect();
        let source = own[0].trim_start_matches("::ffff:");
        assert_eq!(seen[1].trim_start_matches("::ffff:"), source, "{way}");
        assert_eq!(seen[2], own[1], "{way}");
        let tokens = bench.tokens();
        assert_eq!(tokens.len(), n + 1, "nobody but the engine ends one");
        let (_, token) = tokens
            .iter()
            .find(|(_, token)| token.source_port.to_string() == own[1])
            .expect("the kernel noted where it comes from");
        assert_eq!(text(token.source), source, "{way}");
        let wanted = peer.trim_start_matches("::ffff:");
        assert_eq!(
            (text(token.destination).as_str(), token.port),
            (wanted, 443)
        );
        assert_eq!(&token.command[..8], b"python3\0".as_slice());
        assert_ne!(token.closed, 0, "its socket was closed");
    }
    assert_eq!(bench.counts()[COUNT_TAKEN as usize], ways.len() as u64);
}

#[test]
fn mptcp_is_taken() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("mptcp", FLAGS, TOKENS_MOST);
    let script =
        "s = opened(2, 1, 262); s.connect(('203.0.113.7', 443)); s.sendall(b'x'); print(asked(s))";
    assert!(bench.run(script).starts_with("::ffff:127."));
}

#[test]
fn every_token_of_ipv4_has_the_address_of_a_host() {
    require!(Root, Program("ip"));
    let lab = Lab::new("numbers");
    let host = host(&lab, "app");
    for (number, kind) in [
        (1, "local"),
        (TOKEN_LAST, "local"),
        (TOKEN_LAST + 1, "broadcast"),
    ] {
        let ip = Ipv4Addr::from(TOKEN_NET_V4 | number).to_string();
        let asked = host.program("ip").args(["route", "get", &ip]).run();
        let said = asked.expect_success();
        assert!(said.starts_with(&format!("{kind} {ip} ")), "{said}");
    }
    assert_eq!(
        (TOKEN_LAST + 1) >> TOKEN_BITS_V4,
        0,
        "the next one is the last address"
    );
    assert_eq!((TOKEN_LAST + 2) >> TOKEN_BITS_V4, 1);
}

#[test]
fn a_connection_that_nobody_answers_gives_its_token_back() {
    require!(Root, Cgroup2, Program("python3"), Program("nft"));
    let bench = Bench::new("back", FLAGS, TOKENS_MOST);
    // The listener is there, and a reset is what comes back.
    let rules = format!(
        "add table ip t; add chain ip t in {{ type filter hook input priority 0; }}\n\
         add rule ip t in tcp dport {} tcp flags syn reject with tcp reset",
        bench.port
    );
    let nft = bench.host.program("nft").args([rules.as_str()]);
    nft.run().expect_success();
    let said = bench.run("print(failing(lambda: opened(2).connect(('203.0.113.7', 443))))");
    assert_eq!(said.trim(), "ECONNREFUSED");
    assert_eq!(bench.counts()[COUNT_TAKEN as usize], 1);
    assert_eq!(bench.tokens().len(), 0);
}

#[test]
fn who_gets_the_port_of_a_dead_engine_hears_nothing_of_a_late_first_write() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("late", FLAGS, TOKENS_MOST);
    // TCP_FASTOPEN_CONNECT: nothing is sent before there is something to say.
    let client = bench.start(
        "s = opened(2); s.setsockopt(6, 30, 1); s.setsockopt(6, 34, 1)\n\
         s.connect(('203.0.113.7', 443)); s.setblocking(False)\n\
         print('ready'); sys.stdin.readline(); failing(lambda: s.send(b'q')); print('sent')\n\
         sys.stdin.readline()",
    );
    client.wait_stdout(|line| line.starts_with("ready"));
    bench.engine.kill();
    let thief = format!(
        "import socket, select; s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('', {})); s.listen()\n\
         print('there'); s.accept()",
        bench.port
    );
    let thief = bench.host.program("python3").args(["-uc", &thief]).spawn();
    thief.wait_stdout(|line| line.starts_with("there"));
    let refused = bench.counts()[COUNT_REFUSED as usize];
    client.write(b"\n");
    client.wait_stdout(|line| line.ends_with("sent\n"));
    assert!(bench.counts()[COUNT_REFUSED as usize] > refused);
    assert!(thief.is_running(), "it heard something");
}

#[test]
fn a_connection_that_another_proxy_never_asks_about_ends_its_token() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("unasked", FLAGS, TOKENS_MOST);
    let cookie = bench.cookie(&bench.host);
    for (flags, left) in [(0, 1), (PLACE_EXTERNAL, 1)] {
        bench.place(cookie, PLACE_V4 | PLACE_V6 | flags);
        bench.run(
            "s = opened(2); s.connect(('203.0.113.7', 443)); s.sendall(b'x'); print(asked(s))",
        );
        assert_eq!(bench.tokens().len(), left, "that of the engine's own stays");
    }
}

#[test]
fn long_answers_of_the_kernel_pass_the_one_for_proxies() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("long", FLAGS, TOKENS_MOST);
    let script = "import ctypes, os, socket; os.setgroups(list(range(2000, 4000)))\n\
         a, b = socket.socketpair(); size = ctypes.c_uint(65536); room = ctypes.create_string_buffer(65536)\n\
         done = ctypes.CDLL(None).getsockopt(a.fileno(), 1, 59, room, ctypes.byref(size))\n\
         print(done, size.value, int.from_bytes(room.raw[7996:8000], 'little'))";
    let program = bench.host.program("python3").args(["-c", script]);
    let said = program.cgroup(&bench.outside).run();
    assert_eq!(said.expect_success().trim(), "0 8000 3999");
}

#[test]
fn nobody_else_rides_a_live_token() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("ride", FLAGS, TOKENS_MOST);
    let said = bench.run(
        "s = opened(2); s.connect(('203.0.113.7', 443)); s.sendall(b'x'); at = asked(s).split()\n\
         port = int(sys.argv[1]) if len(sys.argv) > 1 else 0\nprint(at[0])",
    );
    let token = said.trim().trim_start_matches("::ffff:").to_owned();
    let port = bench.port;
    let ride = format!("print(failing(lambda: opened(2).connect(('{token}', {port}))))");
    assert_eq!(bench.run(&ride).trim(), "ECONNREFUSED");
    assert_eq!(bench.counts()[COUNT_RIDDEN as usize], 1);
    // Another process gets to the engine, which sees that the token is not its own.
    let outsider = format!(
        "import socket; s = socket.create_connection(('{token}', {port})); s.sendall(b'x'); print(s.getsockname()[1])"
    );
    let outsider = bench.host.program("python3").args(["-c", &outsider]);
    let source: u16 = outsider
        .run()
        .expect_success()
        .trim()
        .parse()
        .expect("a port");
    let (_, live) = bench.tokens()[0];
    assert_ne!(live.source_port, source);
}

#[test]
fn another_proxy_is_told_the_original_destination_once_and_again() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("origin", FLAGS, TOKENS_MOST);
    for (family, to) in [("2", "203.0.113.7"), ("10", "2001:db8::9")] {
        let said = bench.run(&format!(
            "s = opened({family}); s.connect(('{to}', 443)); s.sendall(b'o'); print(asked(s))"
        ));
        assert_eq!(said.trim(), format!("{to} 443; {to} 443"));
    }
    assert_eq!(bench.tokens().len(), 0, "asking ends the token");
}
