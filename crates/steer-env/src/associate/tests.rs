use std::future::poll_fn;
use std::time::Duration;

use steer_core::address::Family;
use steer_core::datagram::{Batch, Datagrams};
use steer_core::steered::Flow;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A client with its connection, and the association that it made.
struct Client {
    control: TcpStream,
    udp: UdpSocket,
    relay: SocketAddr,
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    let event = tokio::time::timeout(Duration::from_secs(20), event).await;
    event.expect("it happens before the deadline")
}

fn associations(bounds: Bounds) -> (Associations, mpsc::Receiver<Steered>) {
    let (flow_tx, flows) = mpsc::channel(bounds.flows + 1);
    (Associations::new(Method::Explicit, flow_tx, bounds), flows)
}

/// Connects and opens a port, by which the client has claimed its own or none.
async fn associate(all: &Associations, family: Family, claims: bool) -> Client {
    let listener = TcpListener::bind((family.loopback(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let (control, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
    let (stream, client) = accepted.unwrap();
    let udp = UdpSocket::bind((family.loopback(), 0)).unwrap();
    let claim = claims.then(|| udp.local_addr().unwrap().port());
    let identity = Identity::default();
    let association = all.open(ClientAddr(client), at, claim, identity).unwrap();
    let relay = association.address();
    tokio::spawn(association.run(stream));
    Client {
        control: control.unwrap(),
        udp,
        relay,
    }
}

/// A datagram to a target in 192.0.2.0/24, whose port tells it apart.
fn to(port: u16, payload: &[u8]) -> Vec<u8> {
    [
        &b"\0\0\0\x01\xc0\0\x02\x01"[..],
        &port.to_be_bytes(),
        payload,
    ]
    .concat()
}

async fn receive(steered: &mut Steered) -> io::Result<Batch> {
    let Flow::Udp(datagrams) = &mut steered.flow else {
        panic!("a flow of datagrams")
    };
    let mut batch = Batch::default();
    soon(poll_fn(|cx| datagrams.poll_receive(cx, &mut batch))).await?;
    Ok(batch)
}

fn datagrams(steered: &mut Steered) -> &mut dyn Datagrams {
    match &mut steered.flow {
        Flow::Udp(datagrams) => datagrams.as_mut(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_target_is_one_flow_with_its_client_and_its_owner() {
    for family in Family::ALL {
        let (all, mut flows) = associations(Bounds::default());
        let client = associate(&all, family, false).await;
        assert_eq!(client.relay.ip(), family.loopback());
        for (port, payload) in [(1, &b"a"[..]), (2, b""), (1, b"b")] {
            client
                .udp
                .send_to(&to(port, payload), client.relay)
                .unwrap();
        }
        let mut first = soon(flows.recv()).await.unwrap();
        let mut second = soon(flows.recv()).await.unwrap();
        assert_eq!(first.destination.to_string(), "192.0.2.1:1");
        assert_eq!(second.destination.to_string(), "192.0.2.1:2");
        assert_eq!(first.client.0, client.udp.local_addr().unwrap());
        assert_eq!(receive(&mut second).await.unwrap().get(0), Some(&b""[..]));
        let mut got = Vec::new();
        while got.len() < 2 {
            let batch = receive(&mut first).await.unwrap();
            got.extend(batch.iter().map(<[u8]>::to_vec));
        }
        assert_eq!(got, [b"a", b"b"]);
        let mut answer = Batch::default();
        answer.push(b"there");
        answer.push(b"");
        datagrams(&mut first).send(&answer).unwrap();
        for expected in [to(1, b"there"), to(1, b"")] {
            let mut bytes = [0; 64];
            let length = client.udp.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..length], expected);
        }
    }
}

#[tokio::test]
async fn only_the_client_is_heard_and_from_one_port() {
    for claims in [true, false] {
        let (all, mut flows) = associations(Bounds::default());
        let client = associate(&all, Family::V4, claims).await;
        let stranger = |address: &str| UdpSocket::bind(address).unwrap();
        let (same, other) = (stranger("127.0.0.1:0"), stranger("127.0.0.2:0"));
        other.send_to(&to(1, b"other host"), client.relay).unwrap();
        if claims {
            same.send_to(&to(2, b"other port"), client.relay).unwrap();
        }
        // What could not be passed on shows nothing either.
        same.send_to(b"\0\0\x01\x01garbage", client.relay).unwrap();
        client.udp.send_to(&to(3, b"client"), client.relay).unwrap();
        let mut heard = soon(flows.recv()).await.unwrap();
        assert_eq!(heard.destination.port(), 3, "claims: {claims}");
        same.send_to(&to(3, b"other port"), client.relay).unwrap();
        other.send_to(&to(3, b"other host"), client.relay).unwrap();
        client.udp.send_to(&to(3, b"again"), client.relay).unwrap();
        client.udp.send_to(&to(4, b"last"), client.relay).unwrap();
        assert_eq!(soon(flows.recv()).await.unwrap().destination.port(), 4);
        let batch = receive(&mut heard).await.unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"client"[..], b"again"]);
    }
}

#[tokio::test]
async fn the_end_of_the_connection_ends_the_port_and_its_flows_and_no_others() {
    let (all, mut flows) = associations(Bounds::default());
    let ends = associate(&all, Family::V4, false).await;
    let stays = associate(&all, Family::V4, false).await;
    assert_ne!(ends.relay, stays.relay);
    for client in [&ends, &stays] {
        client.udp.send_to(&to(1, b"one"), client.relay).unwrap();
    }
    let mut steered = Vec::new();
    for _ in 0..2 {
        steered.push(soon(flows.recv()).await.unwrap());
    }
    let from = |client: &Client| client.udp.local_addr().unwrap();
    steered.sort_by_key(|flow| flow.client.0 != from(&ends));
    let [mut ended, mut goes_on] = <[Steered; 2]>::try_from(steered).unwrap();
    for flow in [&mut ended, &mut goes_on] {
        receive(flow).await.unwrap();
    }
    drop(ends.control);
    let error = receive(&mut ended).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let mut answer = Batch::default();
    answer.push(b"late");
    assert!(datagrams(&mut ended).send(&answer).is_err());
    drop(ended);
    ends.udp.connect(ends.relay).unwrap();
    ends.udp.send(&to(1, b"two")).unwrap();
    let refused = ends.udp.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    stays.udp.send_to(&to(1, b"two"), stays.relay).unwrap();
    let batch = receive(&mut goes_on).await.unwrap();
    assert_eq!(batch.get(0), Some(&b"two"[..]));
    datagrams(&mut goes_on).send(&answer).unwrap();
}

#[tokio::test]
async fn a_flood_of_targets_and_of_clients_is_bounded() {
    let bounds = Bounds {
        associations: 2,
        flows: 40,
    };
    let (all, mut flows) = associations(bounds);
    let client = associate(&all, Family::V4, false).await;
    let mut live = Vec::new();
    for port in 1..=200 {
        client
            .udp
            .send_to(&to(port, b"flood"), client.relay)
            .unwrap();
        while let Ok(flow) = flows.try_recv() {
            live.push(flow);
        }
        tokio::task::yield_now().await;
    }
    while live.len() < bounds.flows {
        live.push(soon(flows.recv()).await.unwrap());
    }
    // One that goes makes room for one, also of another client.
    let other = associate(&all, Family::V4, false).await;
    live.pop();
    other.udp.send_to(&to(1, b"in"), other.relay).unwrap();
    let next = soon(flows.recv()).await.unwrap();
    assert_eq!(next.client.0, other.udp.local_addr().unwrap());
    assert!(flows.try_recv().is_err());

    let here = "127.0.0.1:9".parse().unwrap();
    let open = || all.open(ClientAddr(here), here, None, Identity::default());
    assert!(open().unwrap_err().to_string().contains("too many"));
    drop(other.control);
    soon(async {
        while all.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(open().is_ok());
}

#[tokio::test]
async fn large_datagrams_pass_whole_and_what_does_not_fit_an_answer_is_lost_alone() {
    let (all, mut flows) = associations(Bounds::default());
    let client = associate(&all, Family::V4, false).await;
    let largest = vec![b'x'; 65_507 - 10];
    client.udp.send_to(&to(1, &largest), client.relay).unwrap();
    let mut flow = soon(flows.recv()).await.unwrap();
    assert_eq!(receive(&mut flow).await.unwrap().get(0), Some(&largest[..]));
    let mut answer = Batch::default();
    answer.push(&[b'y'; 65_507]);
    answer.push(&largest);
    datagrams(&mut flow).send(&answer).unwrap();
    let mut bytes = vec![0; 1 << 16];
    let length = client.udp.recv(&mut bytes).unwrap();
    assert_eq!(bytes[..length], to(1, &largest));
}

#[tokio::test]
async fn nobody_is_brought_back_to_a_port_of_the_proxy() {
    let (all, mut flows) = associations(Bounds::default());
    let client = associate(&all, Family::V4, false).await;
    let port = client.relay.port().to_be_bytes();
    for host in [
        &b"\x01\x7f\0\0\x01"[..],
        b"\x01\x7f\0\0\x02",
        b"\x01\0\0\0\0",
        b"\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01",
        b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
        b"\x03\x09127.0.0.1",
        b"\x03\x09LOCALHOST",
    ] {
        let datagram = [b"\0\0\0", host, &port].concat();
        client.udp.send_to(&datagram, client.relay).unwrap();
    }
    client.udp.send_to(&to(7, b""), client.relay).unwrap();
    assert_eq!(soon(flows.recv()).await.unwrap().destination.port(), 7);
}

#[tokio::test]
async fn without_an_engine_the_last_flows_go_on_and_then_the_client_is_told() {
    let (all, mut flows) = associations(Bounds::default());
    let mut client = associate(&all, Family::V4, false).await;
    client.udp.send_to(&to(1, b"one"), client.relay).unwrap();
    let mut flow = soon(flows.recv()).await.unwrap();
    receive(&mut flow).await.unwrap();
    drop(flows);
    client.udp.send_to(&to(2, b"new"), client.relay).unwrap();
    client.udp.send_to(&to(1, b"two"), client.relay).unwrap();
    let batch = receive(&mut flow).await.unwrap();
    assert_eq!(batch.get(0), Some(&b"two"[..]));
    drop(flow);
    let end = soon(client.control.read(&mut [0])).await.unwrap();
    assert_eq!(end, 0);
}

#[tokio::test]
async fn a_client_that_floods_its_connection_loses_it() {
    use tokio::io::AsyncWriteExt;
    let (all, _flows) = associations(Bounds::default());
    let mut client = associate(&all, Family::V4, false).await;
    let flood = async { while client.control.write_all(&[0; 4096]).await.is_ok() {} };
    soon(flood).await;
}
