use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::Socket;
use steer_core::mark::Mark;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::PlainSockets;

/// Settings with this text, in a file of their own.
fn settings(text: &str, chosen: Option<SocketAddr>, ours: &[&str]) -> (Settings, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let settings = Settings {
        path: file.path().to_owned(),
        chosen,
        ours: ours.iter().map(|ip| ip.parse().unwrap()).collect(),
    };
    (settings, file)
}

fn asking(sockets: Arc<dyn SocketFactory>, chosen: Option<SocketAddr>, text: &str) -> HostResolver {
    HostResolver::with(sockets, settings(text, chosen, &[]).0).unwrap()
}

/// Counts the sockets that it makes.
#[derive(Debug, Default)]
struct Counted {
    udp: AtomicUsize,
    tcp: AtomicUsize,
}

impl SocketFactory for Counted {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        self.tcp.fetch_add(1, Ordering::Relaxed);
        PlainSockets.tcp(family)
    }

    fn udp(&self, family: Family) -> io::Result<Socket> {
        self.udp.fetch_add(1, Ordering::Relaxed);
        PlainSockets.udp(family)
    }

    fn mark(&self) -> Option<Mark> {
        None
    }
}

/// The question's name as text, and its type.
fn question(query: &[u8]) -> (String, u16) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(str::from_utf8(&query[at + 1..end]).unwrap().to_owned());
        at = end;
    }
    (
        labels.join("."),
        u16::from_be_bytes([query[at + 1], query[at + 2]]),
    )
}

/// Answers A and AAAA of `*.lan` names; what is `long` only by TCP; all others do not exist.
fn answer(query: &[u8], by_tcp: bool) -> Vec<u8> {
    let (name, kind) = question(query);
    let end = 12 + name.len() + 2 + 4;
    let data: &[u8] = match kind {
        1 => &Ipv4Addr::new(127, 1, 2, 3).octets(),
        28 => &Ipv6Addr::LOCALHOST.octets(),
        _ => &[],
    };
    let known = name.ends_with("lan");
    let cut = name.starts_with("long") && !by_tcp;
    let count = u8::from(known && !cut && !data.is_empty());
    let flags = [
        0x81 | if cut { 2 } else { 0 },
        0x80 | if known { 0 } else { 3 },
    ];
    let mut answer = [
        &query[..2],
        &flags,
        &[0, 1, 0, count, 0, 0, 0, 0],
        &query[12..end],
    ]
    .concat();
    if count == 1 {
        let length = u8::try_from(data.len()).unwrap();
        let kind = kind.to_be_bytes();
        answer.extend([0xc0, 12, kind[0], kind[1], 0, 1, 0, 0, 0, 60, 0, length]);
        answer.extend(data);
    }
    answer
}

/// A resolver on loopback by UDP and TCP at one port.
async fn resolver() -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut room = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut room).await {
            let _ = udp.send_to(&answer(&room[..length], false), from).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut query = vec![0; length.into()];
                    stream.read_exact(&mut query).await.unwrap();
                    let answer = answer(&query, true);
                    let length = u16::try_from(answer.len()).unwrap();
                    stream.write_u16(length).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    address
}

async fn found(resolver: &HostResolver, name: &str) -> io::Result<Vec<String>> {
    let name = HostName::new(name).unwrap();
    let mut found: Vec<_> = resolver
        .resolve(&name, 80)
        .await?
        .iter()
        .map(ToString::to_string)
        .collect();
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn names_are_asked_over_the_sockets_that_were_given() {
    let sockets = Arc::new(Counted::default());
    let at = resolver().await;
    let asking = asking(sockets.clone(), Some(at), "search corp.lan\n");
    let both = ["127.1.2.3:80", "[::1]:80"];
    assert_eq!(found(&asking, "a.lan").await.unwrap(), both);
    assert!(sockets.udp.load(Ordering::Relaxed) >= 2);
    // A name without a dot is looked for in the search domain.
    assert_eq!(found(&asking, "printer").await.unwrap(), both);
    assert_eq!(sockets.tcp.load(Ordering::Relaxed), 0);
    assert_eq!(found(&asking, "long.lan").await.unwrap(), both);
    assert!(sockets.tcp.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn a_name_that_does_not_exist_has_no_address() {
    let at = resolver().await;
    let asking = asking(Arc::new(PlainSockets), Some(at), "");
    assert!(found(&asking, "no.example").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_resolver_that_is_not_there_is_an_error() {
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let asking = asking(
        Arc::new(PlainSockets),
        Some(closed),
        "options timeout:1 attempts:1\n",
    );
    found(&asking, "a.lan").await.unwrap_err();
}

#[tokio::test]
async fn addresses_without_a_route_come_last() {
    let asking = asking(Arc::new(PlainSockets), None, "");
    // Reserved, so no host has a route to it that lets a socket connect.
    let mut addresses = ["255.255.255.255:1", "127.0.0.1:1"].map(|a| a.parse().unwrap());
    asking.sort(&mut addresses);
    assert_eq!(addresses[0], "127.0.0.1:1".parse().unwrap());
}

#[test]
fn who_is_asked_is_never_ourselves() {
    let servers = |text: &str, ours: &[&str]| {
        let (settings, _file) = settings(text, None, ours);
        let read = settings.read().map(|(config, _)| {
            let servers = config.name_servers().iter();
            servers.map(|server| server.ip.to_string()).collect()
        });
        read.map_err(|error| error.to_string())
    };
    let text = "nameserver 127.83.0.1\nnameserver 192.0.2.53\n";
    let found: Vec<String> = servers(text, &["127.83.0.1"]).unwrap();
    assert_eq!(found, ["192.0.2.53"]);
    assert_eq!(servers(text, &["0.0.0.0"]).unwrap(), ["192.0.2.53"]);
    let why = servers("nameserver 127.83.0.1\n", &["127.83.0.1"]).unwrap_err();
    assert!(why.contains("names no resolver but this one"), "{why}");
    servers("", &["127.0.0.1"]).expect_err("the one that is meant where none is written");
}

#[tokio::test]
async fn settings_that_change_hold_from_then_on_unless_they_are_wrong() {
    let at = resolver().await;
    let (settings, file) = settings("", Some(at), &[]);
    let asking = HostResolver::with(Arc::new(PlainSockets), settings).unwrap();
    assert!(found(&asking, "printer").await.unwrap().is_empty());
    let change = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        asking.asking.lock().unwrap().due = Instant::now();
    };
    change("search corp.lan\n");
    assert_eq!(found(&asking, "printer").await.unwrap().len(), 2);
    change("options ndots:what\nsearch \u{0}\n");
    assert_eq!(found(&asking, "printer").await.unwrap().len(), 2);
}
