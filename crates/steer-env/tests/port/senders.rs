//! Proxies in front of the port that say whose the connections are.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lab::require;
use steer_core::intent::Forward;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

use crate::engine::{self, Engine, explicit_intent};
use crate::origin::{self, Origin};

/// An address of loopback that no other test and no other run of this one binds.
fn sender(number: u8) -> Ipv4Addr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 100 + number, high, low)
}

/// A port and a forward port that believe this sender, and the origin of the latter.
async fn believing(sender: Ipv4Addr) -> (Engine, Origin) {
    let echo = origin::echo().await;
    let senders = vec![format!("{sender}/32").parse().unwrap()];
    let mut intent = explicit_intent();
    intent.listen.proxy_protocol.clone_from(&senders);
    intent.forward = vec![Forward {
        listen: "127.0.0.1:0".parse().unwrap(),
        to: echo.named().parse().unwrap(),
        upstream: None,
        proxy_protocol: senders,
    }];
    (engine::start(&steer_env::Explicit, &intent), echo)
}

/// A proxy with its files; it ends with this.
struct Front {
    _child: Child,
    _home: TempDir,
}

/// Starts a program with a configuration.
fn front(config: &str, command: impl FnOnce(&Path, &Path) -> Command) -> Front {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config");
    std::fs::write(&file, config).unwrap();
    let child = command(home.path(), &file).kill_on_drop(true).spawn();
    Front {
        _child: child.unwrap(),
        _home: home,
    }
}

fn haproxy(at: Ipv4Addr, lines: &[(u16, SocketAddr, &str)]) -> Front {
    let mut config = "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 9s\n \
        timeout client 30s\n timeout server 30s\n"
        .to_owned();
    for (port, to, option) in lines {
        config +=
            &format!("listen l{port}\n bind {at}:{port}\n source {at}\n server s {to} {option}\n");
    }
    front(&config, |_, file| {
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(file);
        haproxy
    })
}

fn nginx(at: Ipv4Addr, lines: &[(u16, SocketAddr)]) -> Front {
    let servers = lines.iter().map(|(port, to)| {
        format!(
            "server {{ listen {at}:{port}; proxy_pass {to}; proxy_bind {at}; \
             proxy_protocol on; proxy_half_close on; }}\n"
        )
    });
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\n\
         master_process off;\npid nginx.pid;\nevents {{}}\nstream {{\n{}}}\n",
        servers.collect::<String>()
    );
    front(&config, |home, file| {
        let mut nginx = Command::new("nginx");
        nginx
            .args(["-e", "stderr", "-p"])
            .arg(home)
            .arg("-c")
            .arg(file);
        nginx
    })
}

/// Connects as soon as somebody listens there.
async fn connect(at: SocketAddr) -> TcpStream {
    let connected = async {
        loop {
            match TcpStream::connect(at).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let connected = tokio::time::timeout(Duration::from_secs(20), connected);
    connected.await.expect("the proxy comes up")
}

/// Says `words` at this address: the client that the port took it from, and what came back.
async fn said(engine: &Engine, at: SocketAddr, words: &str) -> (SocketAddr, String) {
    let mut client = connect(at).await;
    let from = client.local_addr().unwrap();
    client.write_all(words.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).await.unwrap();
    let seen = engine.clients();
    assert_eq!(seen.last(), Some(&from), "{seen:?}");
    (from, back)
}

/// That clients of these ports of a proxy are seen as themselves: the first leads to the proxy
/// port, the second to the forward port, and so on.
async fn seen_as_themselves(engine: &Engine, echo: &Origin, at: Ipv4Addr, ports: &[u16]) {
    for pair in ports.chunks(2) {
        let connect = format!("CONNECT {} HTTP/1.1\r\n\r\nhello", echo.named());
        let (_, back) = said(engine, (at, pair[0]).into(), &connect).await;
        assert!(
            back.starts_with("HTTP/1.1 200 ") && back.ends_with("hello"),
            "{back}"
        );
        let (_, back) = said(engine, (at, pair[1]).into(), "hello").await;
        assert_eq!(back, "hello");
    }
}

#[tokio::test]
async fn clients_behind_haproxy_are_seen_as_themselves() {
    require!(Program("haproxy"));
    let at = sender(1);
    let (engine, echo) = believing(at).await;
    let (port, forward) = (engine.address(), engine.listener("forward1"));
    let v2 = "send-proxy-v2 proxy-v2-options crc32c,unique-id";
    let _haproxy = haproxy(
        at,
        &[
            (18001, port, "send-proxy"),
            (18002, forward, "send-proxy"),
            (18003, port, v2),
            (18004, forward, v2),
        ],
    );
    seen_as_themselves(&engine, &echo, at, &[18001, 18002, 18003, 18004]).await;
}

#[tokio::test]
async fn clients_behind_nginx_are_seen_as_themselves() {
    require!(Program("nginx"));
    let at = sender(2);
    let (engine, echo) = believing(at).await;
    let lines = [
        (18001, engine.address()),
        (18002, engine.listener("forward1")),
    ];
    let _nginx = nginx(at, &lines);
    seen_as_themselves(&engine, &echo, at, &[18001, 18002]).await;
}

/// What a client at an address of its own is told.
async fn told(from: Ipv4Addr, to: SocketAddr, words: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut client = socket.connect(to).await.unwrap();
    client.write_all(words).await.unwrap();
    client.shutdown().await.ok();
    let mut back = Vec::new();
    client.read_to_end(&mut back).await.map(|_| back)
}

#[tokio::test]
async fn nobody_else_is_believed_and_a_sender_without_a_header_is_reset() {
    let (at, other) = (sender(3), sender(4));
    let (engine, echo) = believing(at).await;
    let line = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
    let connect = format!("CONNECT {} HTTP/1.1\r\n\r\nhello", echo.named());

    // To whoever is not asked for a header, it is what it looks like.
    let back = told(
        other,
        engine.address(),
        format!("{line}{connect}").as_bytes(),
    )
    .await;
    assert!(back.unwrap().starts_with(b"HTTP/1.1 400 "));
    let back = told(other, engine.listener("forward1"), line.as_bytes()).await;
    assert_eq!(back.unwrap(), line.as_bytes());
    assert_eq!(engine.clients().pop().unwrap().ip(), other);

    for to in [engine.address(), engine.listener("forward1")] {
        for words in [
            &connect[..],
            "PROXY TCP4 203.0.113.7 198.51.100.1 4711\r\n",
            "PROXY ",
        ] {
            let reset = told(at, to, words.as_bytes()).await.unwrap_err();
            assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset, "{words}");
        }
    }
    assert_eq!(engine.clients().len(), 1);

    // What it says of the destination chooses nothing.
    let back = told(at, engine.address(), format!("{line}{connect}").as_bytes()).await;
    assert!(back.unwrap().ends_with(b"hello"));
    assert_eq!(
        engine.clients().pop().unwrap().to_string(),
        "203.0.113.7:4711"
    );
    assert_eq!(
        engine.asked().pop().unwrap(),
        format!("{} explicit -", echo.named())
    );

    // A sender's own connection, and UDP, which would not come by the sender.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let back = told(
        at,
        engine.address(),
        &[&local[..], connect.as_bytes()].concat(),
    )
    .await;
    assert!(back.unwrap().ends_with(b"hello"));
    assert_eq!(engine.clients().pop().unwrap().ip(), at);
    let associate = b"\x05\x01\x00\x05\x03\x00\x01\0\0\0\0\0\0";
    let back = told(at, engine.address(), &[line.as_bytes(), associate].concat()).await;
    assert_eq!(back.unwrap()[2..4], [5, 7]);
}
