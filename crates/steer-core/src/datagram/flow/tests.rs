use std::future::poll_fn;
use std::sync::mpsc;

use super::*;

#[tokio::test]
async fn what_came_early_is_brought_first_and_a_refusal_quotes_the_last_datagram() {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(client.local_addr().unwrap()).unwrap();
    client.connect(socket.local_addr().unwrap()).unwrap();
    let (flow, stragglers) = SocketDatagrams::new(socket, &Budget::new(1 << 20)).unwrap();
    let (told_tx, told) = mpsc::channel();
    let mut flow = flow.on_refusal(move |why, quoted| {
        told_tx.send((why, quoted.to_vec())).unwrap();
    });
    stragglers.push(b"first").unwrap();
    stragglers.push(b"").unwrap();
    let mut batch = Batch::default();
    poll_fn(|cx| flow.poll_receive(cx, &mut batch))
        .await
        .unwrap();
    assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"first"[..], b""]);
    client.send(&[7; 1000]).unwrap();
    poll_fn(|cx| flow.poll_receive(cx, &mut batch))
        .await
        .unwrap();
    assert_eq!((batch.len(), batch.bytes()), (3, 1005));
    flow.refuse(Refusal::Refused);
    assert_eq!(told.recv().unwrap(), (Refusal::Refused, vec![7; QUOTED]));
    drop(flow);
    assert_eq!(stragglers.push(b"late"), Err(Unqueued::Over));
}

#[tokio::test]
async fn a_straggler_wakes_a_flow_that_waits_and_a_flood_of_them_is_bounded() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let (mut flow, stragglers) = SocketDatagrams::new(socket, &Budget::new(1 << 20)).unwrap();
    let other = stragglers.clone();
    let waiting = tokio::spawn(async move {
        let mut batch = Batch::default();
        poll_fn(|cx| flow.poll_receive(cx, &mut batch))
            .await
            .unwrap();
        (flow, batch.len())
    });
    tokio::task::yield_now().await;
    other.push(b"x").unwrap();
    let (mut flow, got) = waiting.await.unwrap();
    assert_eq!(got, 1);
    let taken = (0..100_000)
        .take_while(|_| stragglers.push(b"").is_ok())
        .count();
    assert!((100..10_000).contains(&taken), "{taken}");
    assert_eq!(stragglers.push(b""), Err(Unqueued::Full));
    let mut batch = Batch::default();
    poll_fn(|cx| flow.poll_receive(cx, &mut batch))
        .await
        .unwrap();
    assert_eq!(batch.len(), taken);
    stragglers.push(&[1; 65_507]).unwrap();
}

#[tokio::test]
async fn flows_share_the_room_for_their_stragglers_and_give_it_back() {
    let budget = Budget::new(100_000);
    let flow = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:9").unwrap();
        SocketDatagrams::new(socket, &budget).unwrap()
    };
    let (mut first, of_first) = flow();
    let (second, of_second) = flow();
    of_first.push(&[1; 60_000]).unwrap();
    assert_eq!(of_second.push(&[2; 60_000]), Err(Unqueued::Full));
    let mut batch = Batch::default();
    poll_fn(|cx| first.poll_receive(cx, &mut batch))
        .await
        .unwrap();
    assert_eq!(budget.taken(), 0);
    of_second.push(&[2; 60_000]).unwrap();
    drop(second);
    assert_eq!(budget.taken(), 0);
}
