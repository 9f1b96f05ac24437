//! UDP: answers come from whom the program asked.

use lab::{Capture, require};

use crate::bench::{Bench, text};
use steer_ebpf::abi::{
    DO_CLOSED, DO_TAKE, DO_UDP, NET_REFUSED, SLOTS, TOKEN_BITS_V4, TOKEN_NET_V4, TOKENS_MOST, Token,
};

const FLAGS: u32 = DO_TAKE | DO_CLOSED | DO_UDP;

#[test]
fn answers_come_from_whom_the_program_asked() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("datagrams", FLAGS, TOKENS_MOST);
    let ends = [
        ("2", "203.0.113.7"),
        ("10", "2001:db8::9"),
        ("10", "::ffff:203.0.113.7"),
    ];
    for (n, (family, to)) in ends.into_iter().enumerate() {
        let said = bench.run(&format!(
            "s = opened({family}, 2)\n\
             for _ in range(3):\n  s.sendto(b'q', ('{to}', 5000)); print(s.recvfrom(9)[1][0])\n\
             c = opened({family}, 2); c.connect(('{to}', 5000))\n\
             for _ in range(2):\n  c.send(b'q'); print(c.recvfrom(9)[1][0])\n\
             print(c.getpeername()[0])"
        ));
        assert_eq!(said, format!("{to}\n").repeat(6));
        // What they have sent may not have been read yet: the user's side removes them.
        let tokens = bench.tokens();
        assert_eq!(tokens.len(), 2 * (n + 1), "one a socket");
        assert_eq!(closed(&tokens), tokens.len(), "their sockets are closed");
    }
}

#[test]
fn a_socket_has_one_token_a_destination_however_many_there_are() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("overflow", FLAGS, TOKENS_MOST);
    let many = 3 * SLOTS;
    let said = bench.run(&format!(
        "s = opened(2, 2)\nfor n in [*range({many}), *range({many})]:\n\
         \x20 to = '203.0.113.%d' % n; s.sendto(b'q', (to, 5000)); assert s.recvfrom(9)[1] == (to, 5000), to\n\
         print('all')"
    ));
    assert_eq!(said.trim(), "all");
    let tokens = bench.tokens();
    assert_eq!(tokens.len(), many);
    assert_eq!(
        closed(&tokens),
        SLOTS,
        "the rest is swept when it is silent"
    );
}

#[test]
fn packet_information_goes_with_a_datagram_that_is_taken() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("pktinfo", FLAGS, TOKENS_MOST);
    let said = bench.run(
        "s = opened(2, 2); s.setsockopt(0, 8, 1)\n\
         info = struct.pack('I4s4s', 0, socket.inet_aton('198.51.100.1'), bytes(4))\n\
         s.sendmsg([b'q'], [(0, 8, info)], 0, ('203.0.113.7', 5000))\n\
         d, extra, _, a = s.recvmsg(9, 100); print(a[0], socket.inet_ntoa(extra[0][2][8:12]))",
    );
    assert_eq!(said.trim(), "203.0.113.7 198.51.100.1");
}

#[test]
fn what_a_server_answers_is_left_alone() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("answers", FLAGS, TOKENS_MOST);
    let server = bench.host.program("python3").args([
        "-uc",
        "import socket; s = socket.socket(2, 2); s.bind(('198.51.100.1', 7000)); print('ready')\n\
         d, a = s.recvfrom(9); s.sendto(d, a)",
    ]);
    let server = server.cgroup(&bench.inside).spawn();
    server.wait_stdout(|line| line.starts_with("ready"));
    let client = "import socket; s = socket.socket(2, 2); s.settimeout(10); s.bind(('198.51.100.1', 0))\n\
         s.sendto(b'q', ('198.51.100.1', 7000)); print(s.recvfrom(9)[1][0])";
    let client = bench.host.program("python3").args(["-c", client]).run();
    assert_eq!(client.expect_success().trim(), "198.51.100.1");
    assert_eq!(bench.counts()[0], 0);
}

#[test]
fn what_comes_from_a_token_of_another_socket_of_the_user_is_translated() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("foreign", FLAGS, TOKENS_MOST);
    let client = bench.start(
        "a, b = opened(2, 2), opened(2, 2)\nfor s in (a, b): s.bind(('198.51.100.1', 0))\n\
         a.sendto(b'q', ('203.0.113.7', 5000)); assert a.recvfrom(9)[1] == ('203.0.113.7', 5000)\n\
         print('ports', a.getsockname()[1], b.getsockname()[1])\n\
         print('seen', a.recvfrom(9)[1], b.recvfrom(9)[1])",
    );
    let ports = client.wait_stdout(|text| text.ends_with('\n'));
    let ports: Vec<&str> = ports.split_whitespace().skip(1).collect();
    let tokens = bench.tokens();
    let [(key, _)] = tokens.as_slice() else {
        panic!("{tokens:?}")
    };
    let token = std::net::Ipv4Addr::from(TOKEN_NET_V4 | (*key as u32));
    // Somebody sends to both from the address of the one's token, as only the engine should.
    bench.engine.kill();
    let (port, [a, b]) = (bench.port, [0, 1].map(|n| ports[n]));
    let script = format!(
        "import socket; s = socket.socket(2, 2); s.bind(('{token}', {port}))\n\
         for to in ({a}, {b}): s.sendto(b'x', ('198.51.100.1', to))"
    );
    let sender = bench.host.program("python3").args(["-c", &script]);
    sender.run().expect_success();
    client.wait();
    let said = client.stdout();
    let wanted = "seen ('203.0.113.7', 5000) ('203.0.113.7', 5000)";
    assert_eq!(said.lines().last(), Some(wanted));
}

#[test]
fn nothing_for_a_token_leaves_the_host_whichever_interface_a_program_chooses() {
    require!(Root, Cgroup2, Program("python3"), Program("tcpdump"));
    let bench = Bench::new("interfaces", FLAGS, TOKENS_MOST);
    let wire = bench.lab.host("wire");
    let (ours, _) = bench.lab.link(&bench.host, &wire);
    let name = ours.name.as_str();
    let capture = Capture::start(&bench.host, name);
    let said = bench.run(&format!(
        "n = socket.if_nametoindex('{name}')\n\
         v4, v6 = ('203.0.113.7', 5000), ('2001:db8::9', 5000)\n\
         i4 = [(0, 8, struct.pack('I4s4s', n, bytes(4), bytes(4)))]\n\
         i6 = [(41, 50, bytes(16) + struct.pack('I', n))]\n\
         print(failing(lambda: opened(2, 2).sendmsg([b'leak'], i4, 0, v4)))\n\
         print(failing(lambda: opened(10, 2).sendmsg([b'leak'], i6, 0, v6)))\n\
         s = opened(2, 2); s.setsockopt(0, 50, struct.pack('!I', n))\n\
         print(failing(lambda: s.sendto(b'leak', v4)))\n\
         s = opened(10, 2); s.setsockopt(41, 76, struct.pack('!I', n))\n\
         print(failing(lambda: s.sendto(b'leak', v6)))"
    ));
    assert_eq!(said, "EPERM\n".repeat(4));
    capture.barrier();
    let udp = capture.packets(|packet| packet.payload.starts_with(b"leak"));
    assert!(udp.is_empty(), "{udp:?}");
}

#[test]
fn a_token_says_from_where_its_socket_sends_and_nobody_else_changes_that() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("source", FLAGS, TOKENS_MOST);
    for (family, own, to) in [
        ("2", "198.51.100.1", "203.0.113.7"),
        ("10", "2001:db8::1", "2001:db8::9"),
    ] {
        let client = bench.start(&format!(
            "s = opened({family}, 2); s.bind(('{own}', 0)); s.sendto(b'q', ('{to}', 5000))\n\
             s.recvfrom(9); print('port', s.getsockname()[1])\nsys.stdin.readline()"
        ));
        let port = client.wait_stdout(|line| line.starts_with("port ") && line.ends_with('\n'));
        let port: u16 = port["port ".len()..].trim().parse().expect("a port");
        let live = || {
            let tokens = bench.tokens().into_iter();
            let mut tokens = tokens.filter(|(_, token)| text(token.destination) == to);
            tokens.next().expect("a token")
        };
        let (key, token) = live();
        assert_eq!(
            (text(token.source).as_str(), token.source_port),
            (own, port)
        );
        let number = key as u32 & ((1 << TOKEN_BITS_V4) - 1);
        let at = match family {
            "2" => std::net::Ipv4Addr::from(TOKEN_NET_V4 | number).to_string(),
            _ => format!("fd5e:7ee2:0:f8e3::{:x}:{:x}", number >> 16, number & 0xffff),
        };
        // One who is hooked, at a port that is not the engine's, and one who is not.
        let other = format!("s = opened({family}, 2); s.sendto(b'x', ('{at}', 9))");
        bench.run(&other);
        let (_, after) = live();
        assert_eq!((after.source, after.source_port), (token.source, port));
        client.write(b"\n");
        client.wait();
        let (_, after) = live();
        assert_eq!((after.source, after.source_port), (token.source, port));
        assert_ne!(after.closed, 0);
    }
}

#[test]
fn a_connect_that_is_refused_leaves_a_socket_the_peer_that_it_has() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("again", FLAGS, TOKENS_MOST);
    bench.ports(&[5000]);
    bench.net("203.0.113.8/32", NET_REFUSED);
    let said = bench.run(
        "s = opened(2, 2); s.connect(('203.0.113.7', 5000)); s.send(b'q'); s.recv(9)\n\
         print(failing(lambda: s.connect(('203.0.113.8', 5001))))\n\
         s.send(b'q'); print(s.recvfrom(9)[1][0], s.getpeername()[0])",
    );
    assert_eq!(said, "ECONNREFUSED\n203.0.113.7 203.0.113.7\n");
}

#[test]
fn who_gets_the_port_of_a_dead_engine_hears_nothing_of_connected_sockets() {
    require!(Root, Cgroup2, Program("python3"));
    for (family, peer, said) in [
        (2, "203.0.113.7", "EPERM"),
        (10, "2001:db8::7", "EPERM"),
        // The hook of `sendmsg` is asked before the packet's.
        (10, "::ffff:203.0.113.7", "ECONNREFUSED"),
    ] {
        let bench = Bench::new("thief", FLAGS, TOKENS_MOST);
        let client = bench.start(&format!(
            "s = opened({family}, 2); s.connect(('{peer}', 5000)); s.send(b'q'); s.recv(9)\n\
             print('ready'); sys.stdin.readline(); print(failing(lambda: s.send(b'q')))"
        ));
        client.wait_stdout(|line| line.starts_with("ready"));
        bench.engine.kill();
        let thief = format!(
            "import socket; s = socket.socket(10, 2); s.setsockopt(41, 26, 0); s.bind(('::', {}))\n\
             print('there'); s.recv(9)",
            bench.port
        );
        let thief = bench.host.program("python3").args(["-uc", &thief]).spawn();
        thief.wait_stdout(|line| line.starts_with("there"));
        client.write(b"\n");
        client.wait();
        assert_eq!(client.stdout().lines().last(), Some(said), "{peer}");
        assert!(thief.is_running(), "it heard something of {peer}");
    }
}

/// How many tokens are of sockets that were closed, and say when.
fn closed(tokens: &[(u64, Token)]) -> usize {
    let closed = tokens
        .iter()
        .filter(|(_, token)| token.closed >= token.made);
    closed.count()
}
