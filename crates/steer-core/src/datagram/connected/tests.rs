use std::future::poll_fn;
use std::net::UdpSocket;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::address::Family;

async fn soon<T>(event: impl Future<Output = T>) -> T {
    let event = timeout(Duration::from_secs(20), event).await;
    event.expect("it happens before the deadline")
}

fn pair(family: Family) -> (Connected, Connected) {
    let [a, b] = [(); 2].map(|()| UdpSocket::bind((family.loopback(), 0)).unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    // Room for everything that a test sends at once; the limit of the host is not asked.
    let (a, b) = (Connected::new(a).unwrap(), Connected::new(b).unwrap());
    (a, b)
}

fn batch(sizes: &[usize]) -> Batch {
    let mut batch = Batch::default();
    for (index, size) in sizes.iter().enumerate() {
        batch.push(&vec![u8::try_from(index % 251).unwrap(); *size]);
    }
    batch
}

async fn receive(socket: &mut Connected, count: usize) -> Batch {
    let mut all = Batch::default();
    while all.len() < count {
        let mut batch = Batch::default();
        soon(poll_fn(|cx| socket.poll_receive(cx, &mut batch)))
            .await
            .unwrap();
        assert!(!batch.is_empty());
        batch.iter().for_each(|datagram| all.push(datagram));
    }
    all
}

#[tokio::test]
async fn datagrams_of_every_size_keep_their_boundaries() {
    for family in Family::ALL {
        let (mut a, mut b) = pair(family);
        let longest = match family {
            Family::V4 => 65_507,
            Family::V6 => 65_527,
        };
        for sizes in [
            &[0][..],
            &[longest],
            &[0, 1, 0, 1200, 1200, 1200, 7, 0, 0, 9000],
            &[100; 40],
            &[1, 2, 3, 3, 3, 2, 2, 0, 0, 3],
        ] {
            let sending = batch(sizes);
            let sent = a.send(&sending);
            assert!(sent.error.is_none(), "{sent:?}");
            assert_eq!((sent.datagrams, sent.bytes), (sizes.len(), sending.bytes()));
            assert_eq!(receive(&mut b, sizes.len()).await, sending, "{sizes:?}");
        }
    }
}

#[tokio::test]
async fn bulk_that_the_kernel_joins_is_told_apart_again() {
    let (mut a, mut b) = pair(Family::V4);
    for round in 0..20 {
        let mut sizes = vec![1000; 48];
        sizes.push(300 + round);
        let sending = batch(&sizes);
        assert_eq!(a.send(&sending).datagrams, sizes.len());
        assert_eq!(receive(&mut b, sizes.len()).await, sending);
    }
    assert_eq!(b.joins, Joins::Yes);
    let room = |socket: &Connected| getsockopt(socket.socket(), sockopt::RcvBuf).unwrap();
    assert!(room(&b) > room(&a), "{} and {}", room(&b), room(&a));
}

#[tokio::test]
async fn a_refusal_alone_wakes_whoever_waits_for_datagrams() {
    let (mut a, b) = pair(Family::V4);
    drop(b);
    let mut receiving = Batch::default();
    let waiting = async {
        let mut waits = false;
        poll_fn(|cx| {
            let polled = a.poll_receive(cx, &mut receiving);
            if !std::mem::replace(&mut waits, true) {
                assert!(polled.is_pending());
                // The answer comes while the task waits.
                assert_eq!(a.send(&batch(&[5])).datagrams, 1);
            }
            polled
        })
        .await
    };
    let error = soon(waiting).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_datagram_that_no_packet_carries_is_told_and_the_others_leave() {
    let (mut a, mut b) = pair(Family::V4);
    let sent = a.send(&batch(&[3, 65_520, 4]));
    assert_eq!((sent.datagrams, sent.bytes), (2, 7));
    let error = sent.error.unwrap();
    assert_eq!(error.raw_os_error(), Some(Errno::EMSGSIZE as i32));
    let got = receive(&mut b, 2).await;
    assert_eq!(got.iter().map(<[u8]>::len).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test]
async fn records_of_errors_take_no_room_from_datagrams() {
    for family in Family::ALL {
        let (mut a, mut b) = pair(family);
        a.hear_passing_errors().unwrap();
        for _ in 0..5000 {
            let sent = a.send(&batch(&[65_530]));
            assert!(sent.error.is_some() && sent.datagrams == 0);
        }
        b.send(&batch(&[60_000]));
        assert_eq!(receive(&mut a, 1).await.bytes(), 60_000);
        drop(b);
        a.send(&batch(&[1]));
        let mut receiving = Batch::default();
        let error = soon(poll_fn(|cx| a.poll_receive(cx, &mut receiving))).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn what_comes_while_a_batch_is_looked_at_is_not_slept_through() {
    let (mut a, mut b) = pair(Family::V6);
    for _ in 0..2000 {
        a.send(&batch(&[8]));
        assert_eq!(receive(&mut b, 1).await.bytes(), 8);
        b.send(&batch(&[8, 9]));
        assert_eq!(receive(&mut a, 2).await.bytes(), 17);
    }
}
