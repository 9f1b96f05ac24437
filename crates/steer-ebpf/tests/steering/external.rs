//! Another proxy in the place of the engine.

use std::io::Write;
use std::mem::offset_of;
use std::net::{SocketAddr, TcpListener};

use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use lab::{Cgroup, Lab, eventually};
use nix::sys::socket::{getsockopt, sockopt};
use steer_ebpf::abi::{Owner, Token};

use crate::engine::{Engine, agent, of};

#[test]
fn another_proxy_is_told_the_original_destination() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-other"), Cgroup::new("ebpf-other"));
    let app = lab.host("app");
    let [v4, v6] = app.enter(|| {
        let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        v6.set_only_v6(true).unwrap();
        let any: SocketAddr = format!("[::]:{port}").parse().unwrap();
        v6.bind(&any.into()).unwrap();
        v6.listen(8).unwrap();
        [v4, TcpListener::from(v6)]
    });
    let mut intent = of(&cgroup);
    let port = v4.local_addr().unwrap().port();
    intent.listen.external = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let engine = Engine::start(&app, &intent);
    let agent = agent(&app, &cgroup);
    for (listener, to) in [(v4, "203.0.113.7:80"), (v6, "[2001:db8::7]:80")] {
        let to: SocketAddr = to.parse().unwrap();
        let mut client = agent.connect(to).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        // Asked twice, as some do.
        for _ in 0..2 {
            let told: SocketAddr = match to {
                SocketAddr::V4(_) => {
                    let told = getsockopt(&accepted, sockopt::OriginalDst).unwrap();
                    let ip = u32::from_be(told.sin_addr.s_addr);
                    SocketAddr::from((ip.to_be_bytes(), u16::from_be(told.sin_port)))
                }
                SocketAddr::V6(_) => {
                    let told = getsockopt(&accepted, sockopt::Ip6tOriginalDst).unwrap();
                    let ip = told.sin6_addr.s6_addr;
                    SocketAddr::from((ip, u16::from_be(told.sin6_port)))
                }
            };
            assert_eq!(told, to);
        }
        accepted.write_all(b"hello").unwrap();
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    }
    assert!(engine.came().is_empty(), "our engine has no part in it");
}

#[test]
fn tokens_that_are_over_are_removed_also_where_another_proxy_takes_connections() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-over"), Cgroup::new("ebpf-over"));
    let app = lab.host("app");
    let mut intent = of(&cgroup);
    intent.listen.external = Some(SocketAddr::from(([127, 0, 0, 1], 15001)));
    let _engine = Engine::start(&app, &intent);
    let mut tokens = tokens_of(intent.instance.as_str());
    // Closed when the host had just started, and open.
    let closed = offset_of!(Token, closed);
    let open = [1; size_of::<Token>()];
    let [open, over] = [0_u64, 1].map(|at| {
        let mut token = open;
        token[closed..closed + size_of::<u64>()].copy_from_slice(&at.to_ne_bytes());
        token
    });
    tokens.insert(1, over, 0).unwrap();
    tokens.insert(2, open, 0).unwrap();
    eventually("the token is gone", || {
        tokens.get(&1, 0).is_err().then_some(())
    });
    assert!(tokens.get(&2, 0).is_ok(), "that of a connection stays");
}

/// The tokens of a steering.
fn tokens_of(instance: &str) -> HashMap<MapData, u64, [u8; size_of::<Token>()]> {
    let open = |id: u32| Map::from_map_data(MapData::from_id(id).unwrap()).unwrap();
    let is_its = |maps: &[(u32, MapInfo)]| {
        let owner = maps.iter().find(|(_, info)| info.name() == b"OWNER");
        owner.is_some_and(|(id, _)| {
            let owner: Array<MapData, [u8; size_of::<Owner>()]> = open(*id).try_into().unwrap();
            let name = owner.get(&0, 0).unwrap();
            let name = &name[offset_of!(Owner, instance)..];
            name.starts_with(instance.as_bytes()) && name[instance.len()] == 0
        })
    };
    let found = loaded_programs().flatten().find_map(|program| {
        let ids = program.map_ids().ok().flatten()?;
        let maps = ids
            .into_iter()
            .filter_map(|id| Some((id, MapInfo::from_id(id).ok()?)));
        let maps: Vec<(u32, MapInfo)> = maps.collect();
        let tokens = maps.iter().find(|(_, info)| info.name() == b"TOKENS")?;
        is_its(&maps).then_some(tokens.0)
    });
    open(found.expect("a program with tokens"))
        .try_into()
        .unwrap()
}
