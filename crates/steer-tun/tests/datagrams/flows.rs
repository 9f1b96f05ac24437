//! Datagrams of programs.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use steer_core::address::Family;

use crate::engine::{COUNT, ECHO, REFUSE};
use crate::scene::{Scene, at, client};

fn socket(scene: &Scene, family: Family, port: u16) -> UdpSocket {
    scene.app.enter(|| {
        let socket = UdpSocket::bind((client(family), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(at(family, port)).unwrap();
        socket
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
}

#[test]
fn datagrams_of_every_length_come_back_from_where_they_went() {
    lab::require!(Root, Path("/dev/net/tun"));
    for mtu in [1280, 1500, 9000] {
        let scene = Scene::new(None, mtu);
        for family in Family::ALL {
            let socket = socket(&scene, family, ECHO);
            let mut room = vec![0; 70_000];
            let longest = match family {
                Family::V4 => 65_507,
                Family::V6 => 65_527,
            };
            // Around what fits one packet, and what is cut into many.
            for length in [0, 1, 2, 1231, 1232, 1233, 1472, 1473, 9000, 60_000, longest] {
                let datagram = pattern(length);
                socket.send(&datagram).unwrap();
                let back = socket.recv(&mut room);
                let back = back.unwrap_or_else(|e| panic!("{family} {mtu} {length}: {e}"));
                assert!(room[..back] == datagram, "{family} {mtu} {length}");
            }
            let ends = (socket.local_addr().unwrap(), at(family, ECHO));
            let seen = scene.engine.seen();
            assert_eq!(seen.iter().filter(|seen| **seen == ends).count(), 1);
        }
    }
}

#[test]
fn datagrams_that_leave_as_one_arrive_as_many() {
    lab::require!(Root, Path("/dev/net/tun"));
    let scene = Scene::new(None, 1500);
    for family in Family::ALL {
        let client = scene.app.udp_to(at(family, ECHO)).unwrap();
        let whole = pattern(20 * 1000 + 300);
        client.send_segmented(&whole, 1000).unwrap();
        let mut back = Vec::new();
        for _ in 0..21 {
            let (datagram, from) = client.receive().unwrap();
            assert_eq!(from, at(family, ECHO));
            assert!(datagram.len() == 1000 || datagram.len() == 300);
            back.extend(datagram);
        }
        assert!(back == whole, "{family}");
    }
}

#[test]
fn a_stream_of_datagrams_loses_none_that_the_engine_keeps_up_with() {
    lab::require!(Root, Path("/dev/net/tun"));
    let scene = Scene::new(None, 1500);
    for family in Family::ALL {
        let socket = socket(&scene, family, COUNT);
        let (mut sent, mut room) = (0, [0; 64]);
        // As many at once as may wait for one flow.
        for round in 0..20 {
            for n in 0..40 {
                sent += socket.send(&pattern(1000 + round + n)).unwrap();
            }
            socket.send(&[]).unwrap();
            let told = socket.recv(&mut room).unwrap();
            let told = std::str::from_utf8(&room[..told]).unwrap();
            assert_eq!(told, format!("{} {sent}", (round + 1) * 40), "{family}");
        }
    }
}

#[test]
fn a_refused_datagram_fails_the_program_s_next_call() {
    lab::require!(Root, Path("/dev/net/tun"));
    let scene = Scene::new(None, 1500);
    for family in Family::ALL {
        let socket = socket(&scene, family, REFUSE);
        socket.send(b"is anybody there?").unwrap();
        let error = socket.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{family}");
    }
}

/// How long a datagram may take within one machine.
const PATIENCE: Duration = Duration::from_secs(20);
