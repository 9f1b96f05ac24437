use std::net::SocketAddr;
use std::time::Duration;

use fast_socks5::client::Socks5Datagram;
use fast_socks5::util::target_addr::TargetAddr;
use steer_core::address::{Family, Protocol};
use steer_core::intent::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::engine::{self, Engine, ann, explicit_intent};
use crate::origin;

async fn soon<T>(event: impl Future<Output = T>) -> T {
    let event = tokio::time::timeout(Duration::from_secs(20), event).await;
    event.expect("it happens before the deadline")
}

/// A client of another implementation, with a login.
async fn client(engine: &Engine, password: &str) -> fast_socks5::Result<Socks5Datagram<TcpStream>> {
    let control = TcpStream::connect(engine.address()).await.unwrap();
    Socks5Datagram::bind_with_password(control, "127.0.0.1:0", "ann", password).await
}

#[tokio::test]
async fn another_implementation_of_socks5_exchanges_datagrams_of_every_size() {
    let mut intent = explicit_intent();
    intent.listen.auth = Some(ann());
    let engine = engine::start(&steer_env::Explicit, &intent);
    let password = ann().password.reveal().unwrap();
    assert!(client(&engine, "wrong").await.is_err());
    let client = client(&engine, &password).await.unwrap();
    for family in Family::ALL {
        let echo = origin::udp_echo(family).await;
        let (at, port) = (echo.address, echo.address.port());
        let mut asked = vec![TargetAddr::Ip(at)];
        if family == Family::V4 {
            asked.push(TargetAddr::Domain("Origin.test".to_owned(), port));
        }
        for target in asked {
            for size in [0, 1, 1472, 65_000] {
                let payload = vec![b'p'; size];
                client.send_to(&payload, target.clone()).await.unwrap();
                let mut back = vec![0; 1 << 16];
                let (length, from) = soon(client.recv_from(&mut back)).await.unwrap();
                assert_eq!((&back[..length], &from), (&payload[..], &target));
            }
        }
        let expected = format!("{at} explicit -");
        assert!(engine.asked().contains(&expected), "{:?}", engine.asked());
    }
    assert_eq!(
        engine.asked().len(),
        3,
        "a flow a target: {:?}",
        engine.asked()
    );
    assert!(
        engine.asked()[1].starts_with("origin.test:"),
        "{:?}",
        engine.asked()
    );
}

#[tokio::test]
async fn a_datagram_that_is_refused_ends_its_flow_alone() {
    let engine = engine::explicit();
    let echo = origin::udp_echo(Family::V4).await;
    let control = TcpStream::connect(engine.address()).await.unwrap();
    let client = Socks5Datagram::bind(control, "127.0.0.1:0").await.unwrap();
    let target = |host: &str| TargetAddr::Domain(host.to_owned(), echo.address.port());
    client.send_to(b"no", target("denied.test")).await.unwrap();
    client.send_to(b"yes", target("origin.test")).await.unwrap();
    let mut back = [0; 16];
    let (length, from) = soon(client.recv_from(&mut back)).await.unwrap();
    assert_eq!(
        (&back[..length], from),
        (&b"yes"[..], target("origin.test"))
    );
    assert_eq!(engine.asked().len(), 2);
}

/// The reply to a request for a UDP port.
async fn reply(engine: &Engine, request: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut control = TcpStream::connect(engine.address()).await.unwrap();
    control.write_all(b"\x05\x01\x00").await.unwrap();
    control.write_all(request).await.unwrap();
    let mut told = vec![0; 12];
    soon(control.read_exact(&mut told)).await.unwrap();
    (control, told.split_off(2))
}

#[tokio::test]
async fn the_port_is_at_the_address_that_the_client_reached_and_ends_with_its_connection() {
    let engine = engine::explicit();
    let echo = origin::udp_echo(Family::V4).await;
    let (control, told) = reply(&engine, b"\x05\x03\x00\x01\0\0\0\0\0\0").await;
    assert_eq!(told[..8], *b"\x05\0\0\x01\x7f\0\0\x01");
    let port = u16::from_be_bytes([told[8], told[9]]);
    let relay = SocketAddr::from(([127, 0, 0, 1], port));
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(relay).await.unwrap();
    // As the same host in another spelling: the answer has the one that was asked for.
    let mut datagram = b"\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01".to_vec();
    datagram.extend(echo.address.port().to_be_bytes());
    datagram.extend(b"mapped");
    udp.send(&datagram).await.unwrap();
    let mut back = [0; 64];
    let length = soon(udp.recv(&mut back)).await.unwrap();
    assert_eq!(back[..length], datagram);
    assert_eq!(engine.asked(), [format!("{} explicit -", echo.address)]);
    drop(control);
    let gone = soon(async {
        loop {
            // The engine sees the end of the connection some time after it.
            match udp.send(&datagram).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        }
    });
    assert_eq!(gone.await.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn where_udp_is_left_out_nobody_gets_a_udp_port() {
    let mut include = explicit_intent();
    include.traffic.include.protocols = vec![Protocol::Tcp];
    let mut exclude = explicit_intent();
    exclude.traffic.exclude.protocols = vec![Protocol::Udp];
    for intent in [include, exclude] {
        let engine = engine::start(&steer_env::Explicit, &intent);
        let (_, told) = reply(&engine, b"\x05\x03\x00\x01\0\0\0\0\0\0").await;
        assert_eq!(told[..2], *b"\x05\x07");
    }
}

/// Asks for a UDP port as the user nobody, and tells its reply and whether the port's answer came.
const OTHER_USER: &str = r#"
import os, socket, sys
proxy, relay, echo = (int(port) for port in sys.argv[1:])
"".encode("idna") # loads what the other user may have no right to read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
control = socket.socket()
control.settimeout(10)
control.connect(("127.0.0.1", proxy))
control.sendall(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
reply = b""
while len(reply) < 12:
    part = control.recv(64)
    if not part: break
    reply += part
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
header = b"\0\0\0\x01\x7f\0\0\x01" + echo.to_bytes(2, "big")
for n in range(20):
    udp.sendto(header + b"stolen", ("127.0.0.1", relay))
print(reply[2:4].hex())
"#;

#[tokio::test]
async fn another_user_gets_no_port_of_a_command_and_cannot_take_its_users() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: becoming another user needs root");
        return;
    }
    let mut intent = explicit_intent();
    intent.scope = Scope::command();
    let engine = engine::start(&steer_env::Env, &intent);
    let echo = origin::udp_echo(Family::V4).await;
    let (_control, told) = reply(&engine, b"\x05\x03\x00\x01\0\0\0\0\0\0").await;
    let relay = u16::from_be_bytes([told[8], told[9]]);
    let ports = [engine.address().port(), relay, echo.address.port()];
    let mut other = engine.command("python3");
    other.args(["-c", OTHER_USER]);
    other.args(ports.map(|port| port.to_string()));
    assert_eq!(engine::output(&mut other).await, (0, "0502\n".to_owned()));
    // The user itself is still free to choose where it sends from.
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(("127.0.0.1", relay)).await.unwrap();
    let mut datagram = b"\0\0\0\x01\x7f\0\0\x01".to_vec();
    datagram.extend(echo.address.port().to_be_bytes());
    datagram.extend(b"own");
    let mut back = [0; 64];
    let length = soon(async {
        loop {
            // One may be dropped together with a stranger's.
            udp.send(&datagram).await.unwrap();
            tokio::select! {
                received = udp.recv(&mut back) => break received.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
    assert_eq!(back[..length], datagram);
    assert_eq!(engine.asked().len(), 1);
}
