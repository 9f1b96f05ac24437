//! Which destinations are meant.

use lab::require;
use steer_ebpf::abi::{
    COUNT_REFUSED, COUNT_TAKEN, DO_CLOSED, DO_DNS_TCP, DO_DNS_UDP, DO_LEAVE_DNS, DO_LEAVE_QUIC,
    DO_LEAVE_UDP, DO_LOOPBACK, DO_REFUSE_QUIC, DO_TAKE, DO_TCP, DO_UDP, NET_LEFT, NET_REFUSED,
    TOKENS_MOST,
};

use crate::bench::{Bench, config};

const OPEN: u32 = DO_TAKE | DO_TCP | DO_UDP;
const CLOSED: u32 = OPEN | DO_CLOSED;
const DNS: u32 = DO_DNS_TCP | DO_DNS_UDP;

/// What becomes of a connection and of a datagram to an end: `ok` where the engine answers,
/// `ENETUNREACH` where it is left alone.
fn both(bench: &Bench, to: &str, port: u16) -> [String; 2] {
    let family = if to.contains(':') { 10 } else { 2 };
    let said = bench.run(&format!(
        "print(failing(lambda: opened({family}).connect(('{to}', {port}))))\n\
         u = opened({family}, 2)\n\
         print(failing(lambda: (u.sendto(b'q', ('{to}', {port})), u.recvfrom(9))))"
    ));
    let mut lines = said.lines().map(str::to_owned);
    [(); 2].map(|()| lines.next().expect("two lines"))
}

#[test]
fn what_is_excluded_is_left_before_dns_is_captured() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("before", CLOSED | DNS, TOKENS_MOST);
    bench.net("203.0.113.0/24", NET_LEFT);
    assert_eq!(both(&bench, "203.0.113.7", 53), ["ENETUNREACH"; 2]);
    assert_eq!(both(&bench, "203.0.112.7", 53), ["ok"; 2]);
}

#[test]
fn dns_is_captured_by_protocol_or_left() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("dns", CLOSED, TOKENS_MOST);
    let cases = [
        (CLOSED | DNS, ["ok", "ok"]),
        (CLOSED | DO_LEAVE_DNS, ["ENETUNREACH", "ENETUNREACH"]),
        // UDP is excluded.
        (
            CLOSED & !DO_UDP | DO_LEAVE_UDP | DO_DNS_TCP,
            ["ok", "ENETUNREACH"],
        ),
        // UDP is not included, which DNS does not mind.
        (CLOSED & !DO_UDP | DO_LEAVE_UDP | DNS, ["ok", "ok"]),
    ];
    for (flags, outcome) in cases {
        bench.configure(&config(flags));
        assert_eq!(both(&bench, "203.0.113.7", 53), outcome, "{flags:#x}");
    }
    // A resolver of this host is asked like any other, whatever ports and networks are meant.
    bench.configure(&config(CLOSED | DNS));
    bench.ports(&[]);
    assert_eq!(both(&bench, "127.0.0.53", 53), ["ok"; 2]);
    assert_eq!(both(&bench, "203.0.113.7", 54), ["ENETUNREACH"; 2]);
}

#[test]
fn quic_is_taken_left_or_refused() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("quic", OPEN, TOKENS_MOST);
    for more in [0, DO_CLOSED] {
        let cases = [
            (0, "ok"),
            (DO_LEAVE_QUIC, "ENETUNREACH"),
            (DO_REFUSE_QUIC, "ECONNREFUSED"),
        ];
        for (flag, outcome) in cases {
            bench.configure(&config(OPEN | more | flag));
            assert_eq!(
                both(&bench, "203.0.113.7", 443),
                ["ok", outcome],
                "{flag:#x}"
            );
            assert_eq!(both(&bench, "203.0.113.7", 444), ["ok"; 2], "{flag:#x}");
        }
    }
}

#[test]
fn loopback_is_taken_only_where_it_is_meant() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("loopback", CLOSED, TOKENS_MOST);
    for (flag, taken) in [(0, 0), (DO_LOOPBACK, 2)] {
        for to in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
        ] {
            bench.configure(&config(CLOSED | flag));
            let before = bench.counts();
            let outcome = if taken > 0 { "ok" } else { "ECONNREFUSED" };
            // Nobody listens there, of which a socket hears that is connected.
            let family = if to.contains(':') { 10 } else { 2 };
            let said = bench.run(&format!(
                "print(failing(lambda: opened({family}).connect(('{to}', 9))))\n\
                 u = opened({family}, 2); u.connect(('{to}', 9)); u.send(b'q')\n\
                 print(failing(lambda: u.recv(9)))"
            ));
            assert_eq!(said, format!("{outcome}\n").repeat(2), "{to}");
            let after = bench.counts();
            let counted = |index: u32| after[index as usize] - before[index as usize];
            assert_eq!(
                (counted(COUNT_TAKEN), counted(COUNT_REFUSED)),
                (taken, 0),
                "{to}"
            );
        }
    }
}

#[test]
fn made_up_addresses_never_leave() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("madeup", OPEN, TOKENS_MOST);
    bench.net("198.18.0.0/15", NET_REFUSED);
    bench.net("198.18.7.0/24", NET_REFUSED | NET_LEFT);
    bench.net("fd5e:7ee2:0:f8e1::/64", NET_REFUSED);
    for flags in [OPEN, CLOSED, OPEN & !DO_TAKE, CLOSED & !DO_TAKE] {
        bench.configure(&config(flags));
        bench.ports(&[80]);
        let taken = if flags & DO_TAKE == 0 {
            "ECONNREFUSED"
        } else {
            "ok"
        };
        for (to, meant) in [
            ("198.18.77.77", taken),
            ("::ffff:198.18.77.77", taken),
            ("fd5e:7ee2:0:f8e1::77", taken),
            // Excluded, which does not make it lead anywhere.
            ("198.18.7.7", "ECONNREFUSED"),
        ] {
            assert_eq!(both(&bench, to, 80), [meant; 2], "{to} {flags:#x}");
            assert_eq!(both(&bench, to, 81), ["ECONNREFUSED"; 2], "{to} {flags:#x}");
        }
        assert_eq!(both(&bench, "198.20.0.1", 81), ["ENETUNREACH"; 2]);
    }
    // Where the engine is gone they are refused under open as well.
    bench.configure(&config(OPEN));
    bench.engine.kill();
    assert_eq!(both(&bench, "198.18.77.77", 80), ["ECONNREFUSED"; 2]);
    assert_eq!(both(&bench, "203.0.113.7", 80), ["ENETUNREACH"; 2]);
}

#[test]
fn hooks_that_take_nothing_refuse_under_closed_alone() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("retired", OPEN, TOKENS_MOST);
    bench.net("203.0.112.0/24", NET_LEFT);
    for (flags, outcome) in [(OPEN, "ENETUNREACH"), (CLOSED, "ECONNREFUSED")] {
        bench.configure(&config(flags & !DO_TAKE));
        assert_eq!(both(&bench, "203.0.113.7", 443), [outcome; 2]);
        assert_eq!(both(&bench, "203.0.112.7", 443), ["ENETUNREACH"; 2]);
        bench.configure(&config(flags));
        assert_eq!(both(&bench, "203.0.113.7", 443), ["ok"; 2]);
    }
}
