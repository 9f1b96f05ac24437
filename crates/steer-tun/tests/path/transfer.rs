//! What is sent arrives, whatever the link is like.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use steer_core::address::Family;

use crate::engine::{DIGEST, SOURCE, SOURCED, digest, pattern};
use crate::stand::{Link, Stand, at, client, wait_until};

/// Sends some bytes and its end, and gives what it is answered.
fn send(family: Family, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at(family, DIGEST)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

#[test]
fn what_is_sent_arrives_both_ways_at_every_mtu_with_and_without_offloads() {
    lab::require!(Root, Path("/dev/net/tun"));
    let bytes = pattern(SOURCED);
    for (link, mtu) in [
        (Link::One, 1280),
        (Link::One, 1500),
        (Link::One, 9000),
        (Link::Handed, 1280),
        (Link::Handed, 9000),
        (Link::Plain, 1280),
        (Link::Plain, 1500),
        (Link::Plain, 9000),
        (Link::Tap, 1280),
        (Link::Tap, 1500),
        (Link::Tap, 9000),
    ] {
        let stand = Stand::new(link, mtu);
        for (round, family) in Family::ALL.into_iter().enumerate() {
            let case = format!("{link:?} {mtu} {family}");
            // The client ends its half first.
            let told = stand.app.enter(|| send(family, &bytes));
            assert_eq!(told, digest(&bytes), "{case}");
            // The server ends its half first.
            let received = stand.app.enter(|| {
                let mut stream = TcpStream::connect(at(family, SOURCE)).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                stream.write_all(&bytes[..1 << 20]).unwrap();
                received
            });
            assert!(received == bytes, "{case}");
            wait_until(&case, || stand.engine.seen(|seen| seen.told.len() > round));
            let told = stand.engine.seen(|seen| seen.told[round].clone());
            assert_eq!(told, digest(&bytes[..1 << 20]), "{case}");
            let ends = stand.engine.seen(|seen| seen.ends.clone());
            let last = ends.last().unwrap();
            assert_eq!(last.0.ip(), client(family), "{case}");
            assert_eq!(last.1, at(family, SOURCE), "{case}");
        }
        assert_eq!(stand.engine.seen(|seen| seen.broken.clone()), [""; 0]);
    }
}

#[test]
fn eight_streams_at_once_arrive_over_two_queues() {
    lab::require!(Root, Path("/dev/net/tun"));
    let bytes = pattern(SOURCED);
    let stand = Stand::with_queues(Link::One, 1500, 2);
    let told = stand.app.many(8, |number| {
        let family = Family::ALL[number % 2];
        send(family, &bytes)
    });
    for told in told {
        assert_eq!(told, digest(&bytes));
    }
}
