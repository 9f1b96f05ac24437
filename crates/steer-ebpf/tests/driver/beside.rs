//! Changes beside programs that connect, and beside programs of others in the kernel.

use std::fs;
use std::net::Ipv4Addr;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use aya::{Ebpf, include_bytes_aligned};
use lab::{Cgroup, Proc, require};
use steer_core::address::Cidr;
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_ebpf::abi::{
    COUNT_LEFT, COUNTERS, Cgroups, Config, DO_LOOPBACK, DO_TCP, LIST, Names, PORT_WORDS, Ranges,
    Token,
};
use steer_ebpf::driver::EbpfDriver;

use crate::lives::map;
use crate::stage::{Stage, objects};

/// How often the networks are swapped beside connects.
const SWAPS: u32 = 20;
/// How many there are.
const NETWORKS: u32 = 50_000;

#[test]
fn networks_are_swapped_beside_connects_without_a_wrong_decision() {
    require!(Root, Program("python3"));
    let stage = Stage::new("hammer");
    let (_elsewhere, _engine) = engine(&stage);
    let with = |turn: u32| {
        let mut hooks = stage.hooks(OnFailure::Closed);
        let net = |text: &str| text.parse::<Cidr>().unwrap();
        let first = 0x0a00_0000 + turn * 4 * NETWORKS;
        let others = (0..NETWORKS).map(|n| Ipv4Addr::from(first + 2 * n));
        let others: Vec<Cidr> = others.map(|ip| Cidr::host(ip.into())).collect();
        // One is in the scope of each, one is excluded from it, around both is the scope.
        let traffic = &mut hooks.traffic;
        traffic.include.cidrs = [vec![net("203.0.112.0/23")], others].concat();
        traffic.exclude.cidrs = vec![net("203.0.112.0/24")];
        objects(hooks)
    };
    let mut driver = EbpfDriver::new();
    let mut from = with(0);
    stage.set(&mut driver, &[], &from).unwrap();
    let hammer = "import socket, sys, threading, errno\n\
        over = threading.Event()\n\
        threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()\n\
        def verdict(to):\n\
        \x20 with socket.socket() as s: return errno.errorcode.get(s.connect_ex((to, 443)), 'ok')\n\
        n = 0\n\
        while not over.is_set():\n\
        \x20 said = verdict('203.0.113.7'), verdict('203.0.112.7')\n\
        \x20 assert said == ('ok', 'ENETUNREACH'), (n, said)\n\
        \x20 n += 2\n\
        \x20 if n == 2: print('begun', flush=True)\n\
        print(n)";
    let hammer = stage.host.program("python3").args(["-c", hammer]);
    let hammer = hammer.cgroup(&stage.cgroup).spawn();
    hammer.wait_stdout(|text| text.starts_with("begun\n"));
    for turn in 1..=SWAPS {
        let to = with(turn);
        stage.set(&mut driver, &from, &to).unwrap();
        let counted = counters(map(&driver, "COUNTERS"));
        let told = || format!("swap {turn}: {counted:?} {}", hammer.stderr());
        assert!(hammer.is_running(), "{}", told());
        from = to;
        forget(&driver);
    }
    hammer.close_input();
    hammer.wait();
    let said = hammer.stdout();
    let connects = said.lines().last().and_then(|n| n.parse::<u32>().ok());
    println!("{SWAPS} swaps beside {connects:?} connects");
    assert!(connects > Some(2 * SWAPS), "{said} {}", hammer.stderr());
    stage.set(&mut driver, &from, &[]).unwrap();
}

#[test]
fn other_peoples_programs_run_beside_these() {
    require!(Root, Program("python3"));
    let stage = Stage::new("beside");
    let (_elsewhere, engine) = engine(&stage);
    let mut theirs = counting();
    let program: &mut CgroupSockAddr = theirs
        .program_mut("take_connect4")
        .unwrap()
        .try_into()
        .unwrap();
    program.load().unwrap();
    let cgroup = fs::File::open(stage.cgroup.path()).unwrap();
    program.attach(cgroup, CgroupAttachMode::Single).unwrap();
    let connect = || {
        let script = "import socket, errno\n\
            print(errno.errorcode.get(socket.socket().connect_ex(('203.0.113.7', 443)), 'ok'))";
        let program = stage.host.program("python3").args(["-c", script]);
        let said = program.cgroup(&stage.cgroup).run().expect_success();
        said.trim().to_owned()
    };
    let mut runs = 0;
    let mut connects_and_theirs_runs = |wanted: &str| {
        assert_eq!(connect(), wanted);
        runs += 1;
        assert_eq!(calls(&theirs), runs, "{wanted}");
    };
    connects_and_theirs_runs("ENETUNREACH");
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let to = objects(stage.hooks(on_failure));
        let mut driver = EbpfDriver::new();
        stage.set(&mut driver, &[], &to).unwrap();
        connects_and_theirs_runs("ok");
        stage.set(&mut driver, &to, &[]).unwrap();
        connects_and_theirs_runs("ENETUNREACH");
    }
    let to = objects(stage.hooks(OnFailure::Closed));
    let mut driver = EbpfDriver::new();
    stage.set(&mut driver, &[], &to).unwrap();
    engine.kill();
    connects_and_theirs_runs("ECONNREFUSED");
    stage.set(&mut driver, &to, &[]).unwrap();
}

/// A listener that has the mark, at the port of the hooks, in a cgroup of its own.
fn engine(stage: &Stage) -> (Cgroup, Proc) {
    stage.host.ip(&["link", "set", "lo", "up"]);
    let script = format!(
        "import socket; s = socket.socket(); s.setsockopt(1, 36, {}); s.bind(('', 15001))\n\
         s.listen(4096); print('ready', flush=True)\nwhile True: s.accept()[0].close()",
        Mark::BYPASS.value
    );
    let elsewhere = Cgroup::new("engine");
    let engine = stage.host.program("python3").args(["-c", &script]);
    let engine = engine.cgroup(&elsewhere).spawn();
    engine.wait_stdout(|text| text.starts_with("ready"));
    (elsewhere, engine)
}

/// Removes the tokens, as an engine does when it accepts a connection.
fn forget(driver: &EbpfDriver) {
    let mut tokens: HashMap<MapData, u64, Token> = map(driver, "TOKENS").try_into().unwrap();
    let keys: Vec<u64> = tokens.keys().map_while(Result::ok).collect();
    // Those of connections that failed go by themselves.
    keys.iter().for_each(|key| drop(tokens.remove(key)));
}

/// Programs that let every call pass, and count those of TCP.
fn counting() -> Ebpf {
    let mut object = Ebpf::load(include_bytes_aligned!("../../object/steer.o")).unwrap();
    let ranges = Ranges {
        count: 0,
        ranges: [[1, 0]; LIST],
    };
    let names = Names {
        count: 0,
        names: [[0; 16]; LIST],
    };
    let cgroups = Cgroups {
        ids: [0; LIST],
        count: 0,
        unused: 0,
    };
    let config = Config {
        flags: DO_TCP | DO_LOOPBACK,
        bypass: 0,
        bypass_mask: 0,
        unused: 0,
        netns: 0,
        uid: ranges,
        except_uid: ranges,
        gid: ranges,
        except_gid: ranges,
        command: names,
        except_command: names,
        cgroup: cgroups,
        except_cgroup: cgroups,
    };
    let map = object.map_mut("CONFIG").unwrap();
    let mut map = Array::<_, Config>::try_from(map).unwrap();
    map.set(0, config, 0).unwrap();
    let ports = object.map_mut("PORTS").unwrap();
    let mut ports = Array::<_, u64>::try_from(ports).unwrap();
    (0..PORT_WORDS).for_each(|word| ports.set(word, u64::MAX, 0).unwrap());
    object
}

/// What was counted of each kind.
fn counters(map: Map) -> Vec<u64> {
    let map: PerCpuArray<MapData, u64> = map.try_into().unwrap();
    let each = (0..COUNTERS).map(|index| map.get(&index, 0).unwrap().iter().sum());
    each.collect()
}

fn calls(object: &Ebpf) -> u64 {
    let map = object.map("COUNTERS").unwrap();
    let map: PerCpuArray<&MapData, u64> = map.try_into().unwrap();
    map.get(&COUNT_LEFT, 0).unwrap().iter().sum()
}
