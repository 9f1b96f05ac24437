use aya::maps::{PerCpuArray, PerCpuValues};
use lab::{Cgroup, Lab};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver as _};
use steer_core::intake::Shared;
use steer_core::intent::{OnFailure, Scope};
use steer_core::method::Method;
use steer_core::object::{Binding, Carries, Entrance, Hooks, Object};
use steer_core::plan::Netns;
use steer_core::symbol::{CgroupRef, ListenerId, PortRef};

use super::*;
use crate::abi::{COUNT_EXHAUSTED, COUNT_REFUSED, KEY_UDP, Pair, Slot, Token, TokenKey};
use crate::driver::EbpfDriver;
use crate::intake::chores::Counters;
use crate::intake::overflow::Overflow;
use crate::intake::tokens::Tokens;
use crate::intake::tokens::tests::token;

/// Hooks on a cgroup that nobody is in, and what an intake gets of them.
struct Stage {
    intent: Intent,
    maps: Maps,
    _driver: EbpfDriver,
    _cgroup: Cgroup,
}

impl Stage {
    /// Call it in a namespace of the test.
    fn new(name: &str) -> Self {
        let cgroup = Cgroup::new(name);
        let instance = Instance::new(&format!("{name}{}", std::process::id())).unwrap();
        let mut scope = Scope::default();
        scope.of.cgroup = vec![cgroup.name().to_owned()];
        let intent = Intent::new(instance, scope);
        let hooks = [Object::Hooks(Hooks {
            cgroups: vec![CgroupRef::Path(cgroup.name().to_owned())],
            scope: Scope::default(),
            within: Vec::new(),
            traffic: intent.traffic.clone(),
            names: Default::default(),
            made_up: Vec::new(),
            reach: Reach::All,
            families: Family::ALL.to_vec(),
            entrances: vec![Entrance {
                carries: Carries::Streams,
                port: PortRef::Fixed(15001),
                external: None,
            }],
            bypass: intent.bypass,
            on_failure: OnFailure::Open,
            takes: true,
        })];
        let mut driver = EbpfDriver::new();
        let change = Change {
            instance: &intent.instance,
            netns: &Netns::Here,
            from: &[],
            to: &hooks,
        };
        driver.set(&change).unwrap();
        let shared: Vec<Shared> = driver.shared().unwrap();
        Self {
            intent,
            maps: Maps::new(shared),
            _driver: driver,
            _cgroup: cgroup,
        }
    }

    fn want(&self) -> Want {
        Want::new(
            &self.intent,
            Listener {
                id: ListenerId("tcp".to_owned()),
                method: Method::Ebpf,
                protocol: Protocol::Tcp,
                addresses: vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()],
                port: None,
                to: None,
                binding: Binding::Lo,
                app: None,
            },
        )
    }

    fn place(&self, cookie: u64) -> Option<Place> {
        let map = Map::<_, u64, Place>::try_from(self.maps.open("PLACES").unwrap()).unwrap();
        maps::found(map.get(&cookie, 0)).unwrap()
    }
}

#[test]
fn a_deserted_namespace_is_left_with_its_listeners_and_its_route() {
    lab::require!(Root, Program("cat"));
    let lab = Lab::new("ebpf-tidy");
    let (app, other) = (lab.host("app"), lab.host("other"));
    app.enter(|| {
        let stage = Stage::new("tidy");
        let (places, is_first) = Places::join(&stage.intent, &stage.maps).unwrap();
        assert!(is_first && places.are_meant());
        let mut opened = places.want(stage.want());
        // It waits for input that never comes.
        let program = other.program("cat").spawn();
        let pid = u32::try_from(program.pid()).unwrap();
        let namespace = Namespace::of(pid).unwrap();
        let cookie = namespace.cookie;
        drop(namespace);
        places.enter_of(cookie, pid);
        let place = stage.place(cookie).expect("a place");
        assert_ne!(place.streams, 0);
        let there = opened.try_recv().unwrap();
        assert!(
            other
                .ip(&["-6", "route", "show", "table", "local"])
                .contains("fd5e:")
        );
        for _ in 0..3 {
            places.tidy();
        }
        assert_eq!(stage.place(cookie), Some(place), "somebody is there");
        program.kill();
        places.tidy();
        assert_eq!(
            stage.place(cookie),
            Some(place),
            "it may be between two programs"
        );
        assert!(!there.stay.has_changed().unwrap());
        places.tidy();
        assert_eq!(stage.place(cookie), None);
        assert!(
            there.stay.has_changed().is_err(),
            "its intake is told to end"
        );
        assert!(
            !other
                .ip(&["-6", "route", "show", "table", "local"])
                .contains("fd5e:")
        );
        assert!(opened.try_recv().is_err());
    });
}

#[test]
fn what_is_refused_is_told_once() {
    lab::require!(Root);
    let app = Lab::new("ebpf-count").host("app");
    app.enter(|| {
        let stage = Stage::new("count");
        let mut counters = Counters::open(&stage.maps).unwrap();
        assert_eq!(counters.grown(), (0, 0));
        let map = stage.maps.open("COUNTERS").unwrap();
        let mut map = PerCpuArray::<_, u64>::try_from(map).unwrap();
        let mut count = |index, each: u64| {
            let processors = aya::util::nr_cpus().unwrap();
            let values = PerCpuValues::try_from(vec![each; processors]).unwrap();
            map.set(index, values, 0).unwrap();
            each * processors as u64
        };
        let exhausted = count(COUNT_EXHAUSTED, 3);
        let refused = count(COUNT_REFUSED, 5);
        assert_eq!(counters.grown(), (exhausted, refused));
        assert_eq!(counters.grown(), (0, 0));
        // An engine that comes after does not tell it again.
        assert_eq!(Counters::open(&stage.maps).unwrap().grown(), (0, 0));
    });
}

#[test]
fn a_namespace_whose_loopback_device_is_down_gets_no_place() {
    lab::require!(Root, Program("cat"));
    let lab = Lab::new("ebpf-down");
    let (app, other) = (lab.host("app"), lab.host("other"));
    other.ip(&["link", "set", "lo", "down"]);
    app.enter(|| {
        let stage = Stage::new("down");
        let (places, _) = Places::join(&stage.intent, &stage.maps).unwrap();
        let mut opened = places.want(stage.want());
        let program = other.program("cat").spawn();
        let enter = || {
            let there = Namespace::of(program.pid().try_into().unwrap()).unwrap();
            let cookie = there.cookie;
            places.enter(there);
            stage.place(cookie)
        };
        assert_eq!(enter(), None);
        assert!(opened.try_recv().is_err());
        other.ip(&["link", "set", "lo", "up"]);
        assert!(enter().is_some());
        program.kill();
    });
}

#[test]
fn destinations_go_with_their_tokens_and_those_of_live_sockets_stay() {
    lab::require!(Root);
    let app = Lab::new("ebpf-many").host("app");
    app.enter(|| {
        let stage = Stage::new("many");
        let mut tokens = Tokens::open(&stage.maps).unwrap();
        let mut overflow = Overflow::open(&stage.maps).unwrap();
        let map = |name| stage.maps.open(name).unwrap();
        let mut all = Map::<_, TokenKey, Token>::try_from(map("TOKENS")).unwrap();
        let mut pairs = Map::<_, Pair, Slot>::try_from(map("OVERFLOW")).unwrap();
        let mut number = 0;
        for cookie in 1..=4 {
            for port in 1..=200 {
                number += 1;
                let key = KEY_UDP | number;
                let one = Token {
                    cookie,
                    port,
                    ..token("203.0.113.7:1", "127.0.0.1:40000")
                };
                let slot = Slot {
                    key,
                    destination: one.destination,
                    port,
                    unused: [0; 3],
                };
                let pair = Pair {
                    cookie,
                    address: one.destination,
                    port,
                    unused: [0; 3],
                };
                all.insert(key, one, 0).unwrap();
                pairs.insert(pair, slot, 0).unwrap();
            }
        }
        assert_eq!(overflow.sweep(&tokens).unwrap(), 0);
        // Three sockets are gone; of the second, others have the tokens by now.
        for number in 1..=600 {
            let key = KEY_UDP | number;
            let of_second = (201..=400).contains(&number);
            let was = all.get(&key, 0).unwrap();
            tokens.remove(key).unwrap();
            if of_second {
                all.insert(key, Token { cookie: 9, ..was }, 0).unwrap();
            }
        }
        assert_eq!(overflow.sweep(&tokens).unwrap(), 600);
        let left: Vec<Pair> = pairs.keys().map(Result::unwrap).collect();
        assert_eq!(left.len(), 200);
        assert!(left.iter().all(|pair| pair.cookie == 4));
        for number in 601..=800 {
            tokens.remove(KEY_UDP | number).unwrap();
        }
        assert_eq!(overflow.sweep(&tokens).unwrap(), 200);
        assert_eq!(pairs.keys().count(), 0);
    });
}
