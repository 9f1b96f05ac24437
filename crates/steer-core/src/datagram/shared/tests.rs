use std::future::poll_fn;

use tokio::time::timeout;

use super::*;
use crate::address::Family;

async fn soon<T>(event: impl Future<Output = T>) -> T {
    let event = timeout(Duration::from_secs(20), event).await;
    event.expect("it happens before the deadline")
}

fn port(family: Family) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((family.loopback(), 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn receive(flow: &mut impl Datagrams) -> Batch {
    let mut batch = Batch::default();
    soon(poll_fn(|cx| flow.poll_receive(cx, &mut batch)))
        .await
        .unwrap();
    batch
}

/// The first byte of a datagram tells its flow, and goes before each answer.
#[derive(Debug)]
struct FirstByte;

impl Framing for FirstByte {
    type Key = (SocketAddr, u8);

    fn flow<'a>(&self, arrival: Arrival<'a>) -> Option<(Self::Key, &'a [u8])> {
        let (first, rest) = arrival.datagram.split_first()?;
        Some(((arrival.client, *first), rest))
    }

    fn header(&self, key: &Self::Key) -> Vec<u8> {
        vec![key.1]
    }
}

#[tokio::test]
async fn flows_of_one_port_are_told_apart_and_answered_from_it() {
    for family in Family::ALL {
        let (socket, at) = port(family);
        let mut shared = Shared::new(socket, FirstByte, SharedLimits::default()).unwrap();
        let (client, from) = port(family);
        client.connect(at).unwrap();
        for datagram in [&b"a1"[..], b"", b"b1", b"a2", b"a"] {
            client.send(datagram).unwrap();
        }
        let mut a = soon(shared.next()).await.unwrap();
        let mut b = soon(shared.next()).await.unwrap();
        assert_eq!((*a.key(), *b.key()), ((from, b'a'), (from, b'b')));
        assert_eq!((a.client(), a.destination()), (from, Some(at)));
        // What belongs to flows that are known is handed out while the next one is waited for.
        let (_, got) = tokio::join!(
            async {
                timeout(Duration::from_millis(1), shared.next())
                    .await
                    .unwrap_err()
            },
            async { (receive(&mut b).await, ()) }
        );
        assert_eq!(got.0.get(0), Some(&b"1"[..]));
        let got = receive(&mut a).await;
        assert_eq!(got.iter().collect::<Vec<_>>(), [&b"1"[..], b"2", b""]);
        let mut answer = Batch::default();
        answer.push(b"x");
        answer.push(b"");
        a.send(&answer).unwrap();
        for expected in [&b"ax"[..], b"a"] {
            let mut room = [0; 9];
            let (length, by) = client.recv_from(&mut room).unwrap();
            assert_eq!((&room[..length], by), (expected, at));
        }
    }
}

#[tokio::test]
async fn flows_are_bounded_and_their_place_is_free_when_they_are_dropped() {
    let (socket, at) = port(Family::V4);
    let limits = SharedLimits {
        flows: 2,
        ..SharedLimits::default()
    };
    let mut shared = Shared::new(socket, FirstByte, limits).unwrap();
    let (client, _) = port(Family::V4);
    client.connect(at).unwrap();
    for first in 0..50 {
        client.send(&[first]).unwrap();
    }
    let first = soon(shared.next()).await.unwrap();
    let second = soon(shared.next()).await.unwrap();
    timeout(Duration::from_millis(20), shared.next())
        .await
        .unwrap_err();
    assert_eq!((shared.len(), shared.lost()), (2, 48));
    drop(first);
    client.send(&[77]).unwrap();
    let third = soon(shared.next()).await.unwrap();
    assert_eq!(third.key().1, 77);
    drop((second, third));
    assert!(shared.is_empty());
}

#[tokio::test]
async fn a_flow_that_is_not_read_takes_bounded_memory_and_costs_the_others_nothing() {
    let (socket, at) = port(Family::V4);
    let mut shared = Shared::new(socket, FirstByte, SharedLimits::default()).unwrap();
    let (client, _) = port(Family::V4);
    client.connect(at).unwrap();
    client.send(b"a").unwrap();
    let mut idle = soon(shared.next()).await.unwrap();
    let mut room = vec![b'a'; 60_000];
    for _ in 0..10 {
        client.send(&room).unwrap();
        timeout(Duration::from_millis(20), shared.next())
            .await
            .unwrap_err();
    }
    assert!(shared.lost() >= 7, "{}", shared.lost());
    room[0] = b'b';
    client.send(&room).unwrap();
    let mut other = soon(shared.next()).await.unwrap();
    assert_eq!(receive(&mut other).await.bytes(), 59_999);
    assert!(receive(&mut idle).await.bytes() <= 200_000);
}

#[tokio::test]
async fn a_port_that_was_flooded_keeps_no_room_once_it_rests() {
    let (socket, at) = port(Family::V4);
    let mut shared = Shared::new(socket, FirstByte, SharedLimits::default()).unwrap();
    let (client, _) = port(Family::V4);
    client.connect(at).unwrap();
    let mut rooms = Vec::new();
    for datagram in [&b"a"[..], &[b'b'; 60_000], &[b'c'; 60_000]] {
        client.send(datagram).unwrap();
        let flow = soon(shared.next()).await.unwrap();
        timeout(Duration::from_millis(20), shared.next())
            .await
            .unwrap_err();
        drop(flow);
        rooms.push(shared.arrivals.keeps_room());
    }
    // One large datagram is no flood yet.
    assert_eq!(rooms, [true, true, false]);
    // It goes on as before.
    client.send(b"d1").unwrap();
    let mut flow = soon(shared.next()).await.unwrap();
    assert_eq!(receive(&mut flow).await.get(0), Some(&b"1"[..]));
}
