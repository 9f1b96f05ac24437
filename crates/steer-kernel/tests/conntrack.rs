//! Connection tracking against the kernel.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "support/steering.rs"]
mod steering;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use lab::{DEADLINE, Host, Lab, require};
use steer_core::address::{Family, Protocol};
use steer_core::object::Object;
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::{ChainKind, Role, Rule, Test, Verdict};
use steer_core::symbol::PortRef;
use steer_kernel::conntrack::Conntrack;
use steer_kernel::drivers::Drivers;
use steer_kernel::nft::NftDriver;

/// A host that redirects port 53 of TCP and UDP to port 1053 of its own.
fn host() -> Host {
    let host = Lab::new("conntrack").host("app");
    let rules = "table inet t { chain c { type nat hook output priority -100; \
                 meta l4proto { tcp, udp } th dport 53 redirect to :1053; }; }";
    host.program("nft").args([rules]).run().expect_success();
    host
}

/// Where a client sends and where its listener sits, as loopback addresses of a family.
fn ends(family: Family) -> (SocketAddr, SocketAddr) {
    match family {
        Family::V4 => (
            "127.0.0.9:53".parse().unwrap(),
            "127.0.0.1:1053".parse().unwrap(),
        ),
        Family::V6 => ("[::1]:53".parse().unwrap(), "[::1]:1053".parse().unwrap()),
    }
}

/// A socket whose reading ends with the test's patience.
fn bind(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[test]
fn the_original_destination_of_a_redirected_flow_is_told() {
    require!(Root, Program("nft"));
    let host = host();
    for family in Family::ALL {
        let (to, at) = ends(family);
        host.enter(|| {
            let conntrack = Conntrack::open().unwrap();
            let (udp, tcp) = (bind(at), TcpListener::bind(at).unwrap());
            let any = SocketAddr::new(family.loopback(), 0);
            let [sender, direct] = [any; 2].map(bind);
            sender.send_to(b"?", to).unwrap();
            let (_, client) = udp.recv_from(&mut [0]).unwrap();
            let told = conntrack.original(Protocol::Udp, client, at).unwrap();
            assert_eq!(told, Some(to));

            let _stream = TcpStream::connect(to).unwrap();
            let (_, client) = tcp.accept().unwrap();
            let told = conntrack.original(Protocol::Tcp, client, at).unwrap();
            assert_eq!(told, Some(to));

            // Who came here by himself, and who never came.
            direct.send_to(b"?", at).unwrap();
            let (_, client) = udp.recv_from(&mut [0]).unwrap();
            assert_eq!(conntrack.original(Protocol::Udp, client, at).unwrap(), None);
            let stranger = SocketAddr::new(client.ip(), 9);
            assert_eq!(
                conntrack.original(Protocol::Udp, stranger, at).unwrap(),
                None
            );
        });
    }
}

#[test]
fn forgotten_flows_go_where_they_were_meant_to_and_others_stay() {
    require!(Root, Program("nft"));
    let host = host();
    for family in Family::ALL {
        let (to, at) = ends(family);
        host.enter(|| {
            let conntrack = Conntrack::open().unwrap();
            let (ours, real) = (bind(at), bind(to));
            let sender = bind(SocketAddr::new(family.loopback(), 0));
            sender.send_to(b"1", to).unwrap();
            ours.recv_from(&mut [0]).unwrap();
            host.program("nft")
                // A rule that asks for tracking: without one the kernel would stop rewriting.
                .args(["flush table inet t; add rule inet t c ct state new"])
                .run()
                .expect_success();
            // The rule is gone, and its flow is rewritten all the same.
            sender.send_to(b"2", to).unwrap();
            ours.recv_from(&mut [0]).unwrap();
            assert_eq!(
                conntrack
                    .forget(Protocol::Udp, &BTreeSet::from([9]))
                    .unwrap(),
                0
            );
            assert_eq!(
                conntrack
                    .forget(Protocol::Tcp, &BTreeSet::from([1053]))
                    .unwrap(),
                0
            );
            assert_eq!(
                conntrack
                    .forget(Protocol::Udp, &BTreeSet::from([1053]))
                    .unwrap(),
                1
            );
            assert_eq!(
                conntrack
                    .forget(Protocol::Udp, &BTreeSet::from([1053]))
                    .unwrap(),
                0
            );
            sender.send_to(b"3", to).unwrap();
            let mut told = [0];
            real.recv_from(&mut told).unwrap();
            assert_eq!(&told, b"3");
        });
        host.program("nft")
            .args(["add rule inet t c meta l4proto { tcp, udp } th dport 53 redirect to :1053"])
            .run()
            .expect_success();
    }
}

#[test]
fn a_redirection_of_udp_that_is_undone_lets_its_flows_go_where_they_were_meant_to() {
    require!(Root, Program("nft"));
    let host = Lab::new("conntrack").host("app");
    // A neighbour for whom the kernel goes on tracking and rewriting.
    let neighbour =
        "table inet t { chain c { type nat hook output priority -100; ct state new; }; }";
    host.program("nft").args([neighbour]).run().expect_success();
    let rule = Rule::new(
        [
            Test::Protocol(Protocol::Udp),
            Test::ToPort(vec!["53".parse().unwrap()]),
        ],
        Verdict::Redirect(PortRef::Fixed(1053)),
        "a test asks",
    );
    let planned = Planned {
        netns: Netns::Path(host.namespace_path().display().to_string()),
        life: Life::Steer,
        object: Object::Nft(steering::ruleset(
            Role::Steer,
            ChainKind::Nat,
            &Family::ALL,
            vec![rule],
        )),
    };
    let mut drivers = Drivers::new(vec![Box::new(NftDriver::new())]);
    let main = steering::main();
    for family in Family::ALL {
        let (to, at) = ends(family);
        let [ours, real, sender] =
            host.enter(|| [at, to, SocketAddr::new(family.loopback(), 0)].map(bind));
        let standing = [planned.clone()];
        drivers.set_all(&main, &[], &standing).unwrap();
        sender.send_to(b"1", to).unwrap();
        ours.recv_from(&mut [0]).unwrap();
        drivers.set_all(&main, &standing, &[]).unwrap();
        sender.send_to(b"2", to).unwrap();
        let mut told = [0];
        real.recv_from(&mut told).unwrap();
        assert_eq!(&told, b"2");
    }
}
