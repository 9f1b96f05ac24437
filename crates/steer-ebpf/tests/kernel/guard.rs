//! What cannot be taken: refused at once, or left alone.

use lab::require;

use crate::bench::{Bench, host};
use steer_ebpf::abi::{
    COUNT_EXHAUSTED, COUNT_LEFT, COUNT_REFUSED, DO_CLOSED, DO_OTHERS, DO_TAKE, DO_TCP, TOKENS_MOST,
};

const OPEN: u32 = DO_TAKE | DO_TCP;
const CLOSED: u32 = OPEN | DO_CLOSED;
const CONNECT: &str = "print(failing(lambda: opened(2).connect(('203.0.113.7', 443))))";

#[test]
fn the_next_connect_after_the_engines_death_is_refused_or_direct() {
    require!(Root, Cgroup2, Program("python3"));
    for (flags, outcome) in [(CLOSED, "ECONNREFUSED"), (OPEN, "ENETUNREACH")] {
        let bench = Bench::new("death", flags, TOKENS_MOST);
        assert_eq!(bench.run(CONNECT).trim(), "ok");
        bench.engine.kill();
        // Without the engine nothing leads out of the namespace.
        assert_eq!(bench.run(CONNECT).trim(), outcome);
        assert_eq!(bench.tokens().len(), 1, "only that of the first");
    }
}

#[test]
fn a_listener_without_the_mark_gets_nothing() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("mark", CLOSED, TOKENS_MOST);
    bench.engine.kill();
    let port = bench.port;
    let thief = format!(
        "import socket, time; s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('', {port})); s.listen(); print('ready'); time.sleep(60)"
    );
    let thief = bench.host.program("python3").args(["-uc", &thief]).spawn();
    thief.wait_stdout(|line| line.starts_with("ready"));
    assert_eq!(bench.run(CONNECT).trim(), "ECONNREFUSED");
}

#[test]
fn exhaustion_refuses_further_connections_and_evicts_none() {
    require!(Root, Cgroup2, Program("python3"));
    for (flags, outcome) in [(CLOSED, "ECONNREFUSED"), (OPEN, "ENETUNREACH")] {
        let bench = Bench::new("full", flags, 2);
        assert_eq!(bench.run(CONNECT).trim(), "ok");
        assert_eq!(bench.run(CONNECT).trim(), "ok");
        let before = bench.tokens();
        assert_eq!(bench.run(CONNECT).trim(), outcome);
        assert_eq!(bench.tokens(), before);
        let counts = bench.counts();
        assert_eq!(counts[COUNT_EXHAUSTED as usize], 1);
        let count = if flags == OPEN {
            COUNT_LEFT
        } else {
            COUNT_REFUSED
        };
        assert_eq!(counts[count as usize], 1);
    }
}

#[test]
fn a_namespace_without_a_listener_is_refused() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("spaces", CLOSED, TOKENS_MOST);
    let other = host(&bench.lab, "other");
    let said = bench.run_at(&other, CONNECT).expect_success();
    assert_eq!(said.trim(), "ECONNREFUSED");
    let events = bench.object.map_mut("EVENTS").expect("a map");
    let mut events = aya::maps::RingBuf::try_from(events).expect("a ring");
    let event = events.next().expect("it was reported");
    let cookie = u64::from_ne_bytes(event[..8].try_into().expect("eight bytes"));
    drop(event);
    assert_eq!(cookie, bench.cookie(&other));
    assert_eq!(bench.run(CONNECT).trim(), "ok");
}

#[test]
fn sockets_of_another_interface_and_of_other_protocols_are_refused() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("others", CLOSED | DO_OTHERS, TOKENS_MOST);
    bench.host.ip(&["link", "add", "spare", "type", "veth"]);
    let said = bench.run(
        "s = opened(2); s.setsockopt(1, 25, b'spare')\n\
         print(failing(lambda: s.connect(('203.0.113.7', 443))))\n\
         print(failing(lambda: opened(2, 3, 1)))\nprint(failing(lambda: opened(2, 2, 0)))",
    );
    assert_eq!(said, "ECONNREFUSED\nEPERM\nok\n");
}

#[test]
fn the_engines_own_mark_is_left_alone() {
    require!(Root, Cgroup2, Program("python3"));
    let bench = Bench::new("own", CLOSED, TOKENS_MOST);
    let said = bench.run(
        "s = opened(2); s.setsockopt(1, 36, 0x10)\n\
         print(failing(lambda: s.connect(('203.0.113.7', 443))))",
    );
    assert_eq!(said.trim(), "ENETUNREACH");
}
