//! What is meant, changed while programs connect.

use aya::maps::Array;
use aya::maps::lpm_trie::{Key, LpmTrie};
use lab::require;

use crate::bench::{Bench, Plain, config};
use steer_ebpf::abi::{
    Config, DO_CLOSED, DO_NETS, DO_TAKE, DO_TCP, GENERATIONS, NET_MEANT, NetKey, PORT_WORDS,
    TOKENS_MOST,
};

const FLAGS: u32 = DO_TAKE | DO_CLOSED | DO_TCP | DO_NETS;
const NETWORKS: u32 = 50_000;

#[test]
fn fifty_thousand_networks_are_swapped_beside_connects_without_a_wrong_decision() {
    require!(Root, Cgroup2, Program("python3"));
    let mut bench = Bench::new("swap", FLAGS, TOKENS_MOST);
    fill(&mut bench, 0);
    activate(&mut bench, 0);
    // One destination is meant in every generation, the other one in none, whatever else there is.
    let hammer = "for n in range(1500):\n\
         \x20 a = failing(lambda: opened(2).connect(('203.0.113.7', 443)))\n\
         \x20 b = failing(lambda: opened(2).connect(('203.0.112.7', 443)))\n\
         \x20 assert (a, b) == ('ok', 'ENETUNREACH'), (n, a, b)\n\
         print('done')";
    let hammer = bench.start(hammer);
    let mut generation = 0;
    while hammer.is_running() || generation < 3 {
        generation += 1;
        fill(&mut bench, generation);
        activate(&mut bench, generation);
        // What the one before the last has left: no call that still reads it can be under way, as
        // filling takes longer than any.
        if let Some(old) = generation.checked_sub(2) {
            clear(&mut bench, old);
        }
    }
    assert_eq!(hammer.stdout().trim(), "done", "{}", hammer.stderr());
}

/// Writes a generation: the configuration, its ports, its networks.
fn fill(bench: &mut Bench, generation: u32) {
    let slot = generation % GENERATIONS;
    let map = bench.object.map_mut("CONFIG").expect("a map");
    let mut map = Array::<_, Plain<Config>>::try_from(map).expect("an array");
    map.set(slot, Plain(config(FLAGS)), 0).expect("room");
    let ports = bench.object.map_mut("PORTS").expect("a map");
    let mut ports = Array::<_, u64>::try_from(ports).expect("an array");
    for word in 0..PORT_WORDS {
        let word = slot * PORT_WORDS + word;
        ports.set(word, u64::MAX, 0).expect("room");
    }
    let mut nets = nets(bench);
    for key in keys(generation) {
        nets.insert(&key, NET_MEANT, 0).expect("room");
    }
}

fn clear(bench: &mut Bench, generation: u32) {
    let mut nets = nets(bench);
    for key in keys(generation) {
        nets.remove(&key).expect("it is there");
    }
}

fn activate(bench: &mut Bench, generation: u32) {
    let map = bench.object.map_mut("ACTIVE").expect("a map");
    let mut map = Array::<_, u32>::try_from(map).expect("an array");
    map.set(0, generation, 0).expect("room");
}

fn nets(bench: &mut Bench) -> LpmTrie<&mut aya::maps::MapData, Plain<NetKey>, u32> {
    let map = bench.object.map_mut("NETS").expect("a map");
    LpmTrie::try_from(map).expect("a trie")
}

/// A network that is meant in each, and others that are in this one alone.
fn keys(generation: u32) -> impl Iterator<Item = Key<Plain<NetKey>>> {
    let others = (0..NETWORKS).map(move |n| {
        let [_, a, b, c] = (n + generation * NETWORKS % (1 << 23)).to_be_bytes();
        ([10, a, b, c], 32)
    });
    let nets = [([203, 0, 113, 0], 24)].into_iter().chain(others);
    nets.map(move |(ip, length)| {
        let address = std::net::Ipv4Addr::from(ip).to_ipv6_mapped().octets();
        let key = NetKey {
            generation: generation.to_be_bytes(),
            address,
        };
        Key::new(32 + 96 + length, Plain(key))
    })
}
