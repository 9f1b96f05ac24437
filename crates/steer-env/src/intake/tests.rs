use std::net::{SocketAddr, UdpSocket};

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn port(most: usize) -> (ProxyIntake, SocketAddr) {
    port_with(None, most)
}

fn port_with(udp: Option<Bounds>, most: usize) -> (ProxyIntake, SocketAddr) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // As the sockets of a plan do: what is accepted here resets its client when dropped.
    socket2::SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    let address = socket.local_addr().unwrap();
    let acceptor = Acceptor::new(vec![socket]).unwrap();
    let intake = ProxyIntake::serving(acceptor, Method::Explicit, None, udp, most);
    (intake, address)
}

async fn ask(client: &mut TcpStream) {
    client
        .write_all(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn silent_clients_give_way_in_their_order_after_their_grace() {
    let (mut intake, address) = port(3);
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut last = TcpStream::connect(address).await.unwrap();
    ask(&mut last).await;
    let start = Instant::now();
    let steered = intake.next().await.unwrap();
    assert_eq!(steered.client.0, last.local_addr().unwrap());
    let waited = start.elapsed();
    assert!((GRACE..GRACE * 2).contains(&waited), "{waited:?}");
    let error = silent[0].read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // The others are still served.
    ask(&mut silent[1]).await;
    let steered = intake.next().await.unwrap();
    assert_eq!(steered.client.0, silent[1].local_addr().unwrap());
}

#[tokio::test]
async fn a_user_that_the_port_does_not_serve_is_told_so_in_its_protocol() {
    let (mut intake, address) = port(64);
    intake.owners = Owners::open();
    intake.gate = Gate::Users(Vec::new());
    tokio::spawn(async move { while intake.next().await.is_some() {} });
    let told = |words: &'static [u8]| async move {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(words).await.unwrap();
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        told
    };
    for request in [
        &b"CONNECT example.com:443 HTTP/1.1\r\n\r\n"[..],
        b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ] {
        let told = String::from_utf8(told(request).await).unwrap();
        assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
        assert!(told.contains("listen.auth"), "{told}");
    }
    let socks = b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50";
    assert_eq!(told(socks).await, [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_cancelled_next_loses_no_connection() {
    let (mut intake, address) = port(64);
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut client = TcpStream::connect(address).await.unwrap();
        ask(&mut client).await;
        clients.push(client);
    }
    for _ in 0..clients.len() {
        loop {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                steered = intake.next() => break assert!(steered.is_some()),
            }
        }
    }
    assert!(intake.waiting.is_empty() && intake.tasks.is_empty());
}

#[tokio::test]
async fn a_dropped_intake_resets_the_clients_it_spoke_with() {
    let (mut intake, address) = port(64);
    let mut waiting = TcpStream::connect(address).await.unwrap();
    waiting.write_all(b"\x05\x01\x00").await.unwrap();
    let mut reply = [0; 2];
    tokio::select! {
        _ = intake.next() => panic!("nothing was asked for"),
        read = waiting.read_exact(&mut reply) => assert_eq!(read.unwrap(), 2),
    }
    drop(intake);
    let error = waiting.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Asks for a UDP port, and gives it with the connection that keeps it.
async fn associate(address: SocketAddr) -> (TcpStream, SocketAddr) {
    let mut control = TcpStream::connect(address).await.unwrap();
    let request = b"\x05\x01\x00\x05\x03\x00\x01\0\0\0\0\0\0";
    control.write_all(request).await.unwrap();
    let mut told = [0; 12];
    control.read_exact(&mut told).await.unwrap();
    let port = u16::from_be_bytes([told[10], told[11]]);
    (control, SocketAddr::new(address.ip(), port))
}

fn to(port: u16) -> Vec<u8> {
    [&b"\0\0\0\x01\xc0\0\x02\x01"[..], &port.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_flood_of_flows_that_nobody_wants_keeps_no_connection_waiting() {
    let (mut intake, address) = port_with(Some(Bounds::default()), 64);
    let (control, relay) = tokio::select! {
        steered = intake.next() => panic!("nothing was asked for: {steered:?}"),
        associated = associate(address) => associated,
    };
    let flood = std::thread::spawn(move || {
        let udp = UdpSocket::bind((relay.ip(), 0)).unwrap();
        udp.connect(relay).unwrap();
        let ports = (1..=u16::MAX).cycle();
        // Until the port is gone.
        ports
            .take_while(|port| udp.send(&to(*port)).is_ok())
            .count()
    });
    let serve = async {
        let first = intake.next().await.unwrap();
        assert!(matches!(first.flow, Flow::Udp(_)), "{first:?}");
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client).await;
            clients.push(client);
            while let Flow::Udp(_) = intake.next().await.unwrap().flow {}
        }
    };
    let served = tokio::time::timeout(Duration::from_secs(30), serve);
    served.await.expect("every connection gets its turn");
    drop((intake, control));
    tokio::task::spawn_blocking(|| flood.join())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_dropped_intake_closes_the_udp_ports_that_carry_nothing() {
    let (mut intake, address) = port_with(Some(Bounds::default()), 64);
    let (mut control, _) = tokio::select! {
        steered = intake.next() => panic!("nothing was asked for: {steered:?}"),
        associated = associate(address) => associated,
    };
    drop(intake);
    let mut byte = [0];
    let end = tokio::time::timeout(Duration::from_secs(20), control.read(&mut byte));
    // A reset where the handshake was over and nobody had asked for what it led to.
    match end.await.expect("the end comes") {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}
