//! Upstreams that are told of the client by the PROXY protocol.
use std::net::SocketAddr;

use steer_core::policy::{Upstream, UpstreamKind};
use steer_core::proxy_protocol::{Header, Origin, Version, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{all_through, upstream};
use crate::bench::{Bench, server, soon};

/// Reads a header, and the bytes that came with it.
async fn header(stream: &mut TcpStream) -> (Header, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        soon(stream.read_buf(&mut bytes)).await.unwrap();
        if let Some((header, length)) = parse(&bytes).unwrap() {
            return (header, bytes.split_off(length));
        }
    }
}

fn told(kind: UpstreamKind, address: SocketAddr, version: Version) -> Upstream {
    Upstream {
        proxy_protocol: Some(version),
        ..upstream("lb", kind, address)
    }
}

#[tokio::test]
async fn a_place_that_takes_connections_as_they_are_learns_the_rest_from_the_header() {
    for version in Version::ALL {
        let (listener, address) = server().await;
        let policy = all_through(vec![told(UpstreamKind::Tcp, address, version)]);
        let mut bench = Bench::new(policy);
        let destination: SocketAddr = "192.0.2.7:80".parse().unwrap();
        let mut program = bench.program(destination).await;
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        program.write_all(request).await.unwrap();
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let (header, mut rest) = header(&mut stream).await;
        assert_eq!(header.client(), program.local_addr().ok());
        assert_eq!(header.destination(), Some(destination));
        while rest.len() < request.len() {
            soon(stream.read_buf(&mut rest)).await.unwrap();
        }
        assert_eq!(rest, request);
        if version == Version::V2 {
            assert_eq!(header.authority(), Some("a.example"));
            assert_eq!(header.alpn(), Some(&b"http/1.1"[..]));
            assert_eq!((header.who().uid, header.who().pid), (Some(1000), Some(7)));
            assert!(header.unique_id().is_some());
        }
        stream.write_all(b"answer").await.unwrap();
        drop(stream);
        let mut answer = String::new();
        soon(program.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, "answer");
        drop(program);
        assert_eq!(bench.record().await.upstream, "lb");
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_told_as_a_name() {
    let (listener, address) = server().await;
    let policy = all_through(vec![told(UpstreamKind::Tcp, address, Version::V2)]);
    let bench = Bench::new(policy);
    let _program = bench.program("db.internal:5432").await;
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let (header, _) = header(&mut stream).await;
    assert_eq!(header.authority(), Some("db.internal"));
    assert_eq!(header.destination(), Some("0.0.0.0:5432".parse().unwrap()));
}

#[tokio::test]
async fn a_proxy_is_told_before_it_is_asked() {
    for (kind, first) in [(UpstreamKind::Socks5, 5), (UpstreamKind::Http, b'C')] {
        let (listener, address) = server().await;
        let bench = Bench::new(all_through(vec![told(kind, address, Version::V1)]));
        let program = bench
            .program("192.0.2.7:80".parse::<SocketAddr>().unwrap())
            .await;
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let (header, mut rest) = header(&mut stream).await;
        assert_eq!(header.client(), program.local_addr().ok());
        while rest.is_empty() {
            soon(stream.read_buf(&mut rest)).await.unwrap();
        }
        assert_eq!(rest[0], first);
    }
}

#[tokio::test]
async fn a_check_is_told_as_the_engine_s_own() {
    for version in Version::ALL {
        let (listener, address) = server().await;
        let mut upstream = told(UpstreamKind::Tcp, address, version);
        upstream.health = Some(Default::default());
        let _bench = Bench::new(all_through(vec![upstream]));
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let (header, _) = header(&mut stream).await;
        let own = match version {
            Version::V1 => Origin::Unknown,
            Version::V2 => Origin::Local,
        };
        assert_eq!(header.origin, own);
    }
}
