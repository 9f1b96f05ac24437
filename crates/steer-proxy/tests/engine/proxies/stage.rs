//! Proxies that really connect, and policies with several of them.
use std::net::SocketAddr;

use fast_socks5::Socks5Command;
use fast_socks5::server::{Socks5ServerProtocol, run_udp_proxy};
use fast_socks5::util::target_addr::TargetAddr;
use steer_core::address::Destination;
use steer_core::policy::{Action, Condition, Policy, Upstream, UpstreamKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::bench::{rule, server};

/// A proxy and what it was asked for.
pub(super) struct Stage {
    pub(super) address: SocketAddr,
    pub(super) asked: mpsc::UnboundedReceiver<String>,
}

impl Stage {
    pub(super) async fn new(kind: UpstreamKind, tls: Option<TlsAcceptor>) -> Self {
        let (listener, address) = server().await;
        let (asked_tx, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, asked_tx) = (tls.clone(), asked_tx.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(kind, stream, asked_tx).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(kind, stream, asked_tx).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// What it was asked for; a greeting without a request is not told.
    pub(super) async fn asked(&mut self) -> String {
        crate::bench::soon(self.asked.recv()).await.unwrap()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    kind: UpstreamKind,
    mut stream: S,
    asked_tx: mpsc::UnboundedSender<String>,
) {
    match kind {
        UpstreamKind::Tcp => unreachable!("it is no proxy"),
        UpstreamKind::Http => {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else {
                    return;
                };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let far = TcpStream::connect(&target).await;
            let _ = asked_tx.send(target);
            match far {
                Ok(mut far) => {
                    stream
                        .write_all(b"HTTP/1.1 200 Fine\r\n\r\n")
                        .await
                        .unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut far).await;
                }
                Err(_) => {
                    let _ = stream.write_all(b"HTTP/1.1 502 No\r\n\r\n").await;
                }
            }
        }
        UpstreamKind::Socks5 => {
            let Ok(proxy) = Socks5ServerProtocol::accept_no_auth(stream).await else {
                return;
            };
            let Ok((proxy, command, target)) = proxy.read_command().await else {
                return;
            };
            if command == Socks5Command::UDPAssociate {
                let _ = asked_tx.send("datagrams".to_owned());
                let local = "127.0.0.1".parse().unwrap();
                let _ = run_udp_proxy(proxy, &target, Some(local), local, Some(local)).await;
                return;
            }
            let to = match &target {
                TargetAddr::Ip(address) => address.to_string(),
                TargetAddr::Domain(name, port) => format!("{name}:{port}"),
            };
            let _ = asked_tx.send(to.clone());
            match TcpStream::connect(&to).await {
                Ok(mut far) => {
                    let address = far.local_addr().unwrap();
                    let Ok(mut stream) = proxy.reply_success(address).await else {
                        return;
                    };
                    let _ = copy_bidirectional(&mut stream, &mut far).await;
                }
                Err(_) => {
                    let refused = fast_socks5::ReplyError::ConnectionRefused;
                    let _ = proxy.reply_error(&refused).await;
                }
            }
        }
    }
}

/// An upstream at an address.
pub(super) fn upstream(name: &str, kind: UpstreamKind, address: SocketAddr) -> Upstream {
    Upstream::new(name, kind, Destination::addr(address))
}

/// A policy by which everything goes through the first of these.
pub(super) fn all_through(upstreams: Vec<Upstream>) -> Policy {
    let first = upstreams[0].name.clone();
    Policy {
        upstreams,
        rules: vec![rule("all", Condition::default(), Action::Upstream(first))],
        ..Policy::default()
    }
}

/// A server that sends back what it gets, until it has all of it.
pub(super) async fn echo() -> SocketAddr {
    let (listener, address) = server().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

/// Has a program send bytes, end its side and read all that comes back.
pub(super) async fn exchange(program: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = program.into_split();
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
        to
    });
    let mut back = Vec::new();
    crate::bench::soon(from.read_to_end(&mut back))
        .await
        .unwrap();
    sending.await.unwrap();
    back
}
