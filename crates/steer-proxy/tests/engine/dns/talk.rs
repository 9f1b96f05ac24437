//! Resolvers, and a conversation of the test's own. Its messages begin as those of DNS do: two
//! bytes of an identifier, and the direction; the rest is the name.
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use steer_core::address::HostName;
use steer_core::names::{
    Conversation, Follower, Learned, NotFollowed, Query, ResolverAnswer, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::udp::program::server;

pub(super) fn query(id: u16, name: impl AsRef<str>) -> Vec<u8> {
    [&id.to_be_bytes(), &b"?"[..], name.as_ref().as_bytes()].concat()
}

pub(super) fn answer_to(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = b'!';
    answer
}

pub(super) fn frame(message: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(message.len()).unwrap().to_be_bytes(),
        message,
    ]
    .concat()
}

pub(super) async fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Answers `fake.here` itself, and knows a query by its mark.
#[derive(Debug, Default)]
pub(super) struct Script;

impl Conversation for Script {
    fn query(&self, _client: IpAddr, _transport: Transport, query: &[u8]) -> Query {
        match query {
            [a, b, b'?', b'f', b'a', ..] => Query::Answer([&[*a, *b], &b"made up"[..]].concat()),
            [_, _, b'?', ..] => Query::Forward(query.to_vec()),
            _ => Query::Drop("no query"),
        }
    }

    fn answer(
        &self,
        _client: IpAddr,
        _transport: Transport,
        query: &[u8],
        answer: &[u8],
    ) -> ResolverAnswer {
        if answer == answer_to(query) {
            ResolverAnswer::Deliver(answer.to_vec())
        } else {
            ResolverAnswer::Ignore("another question")
        }
    }

    fn learned(&self, query: &[u8], _answer: &[u8]) -> Option<Learned> {
        let name = str::from_utf8(&query[3..]).unwrap();
        name.starts_with("learn").then(|| Learned {
            name: HostName::new(name).unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
        })
    }
}

/// A follower that lets the test say when the rules know.
#[derive(Debug)]
pub(super) struct Watched {
    learned: mpsc::UnboundedSender<Learned>,
    seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<Learned>>,
    done: Notify,
    fails: AtomicBool,
}

impl Default for Watched {
    fn default() -> Self {
        let (learned, seen) = mpsc::unbounded_channel();
        Self {
            learned,
            seen: tokio::sync::Mutex::new(seen),
            done: Notify::new(),
            fails: AtomicBool::new(false),
        }
    }
}

impl Watched {
    pub(super) async fn learned(&self) -> Learned {
        self.seen.lock().await.recv().await.unwrap()
    }

    /// Lets the rules never know.
    pub(super) fn fail(&self) {
        self.fails.store(true, Ordering::Relaxed);
        self.done.notify_one();
    }

    pub(super) fn done(&self) {
        self.done.notify_one();
    }
}

#[async_trait]
impl Follower for Watched {
    async fn learned(&self, learned: &Learned) -> Result<(), NotFollowed> {
        self.learned.send(learned.clone()).unwrap();
        self.done.notified().await;
        match self.fails.load(Ordering::Relaxed) {
            true => Err(NotFollowed),
            false => Ok(()),
        }
    }
}

/// A resolver that answers every query, and what it was asked.
pub(super) async fn udp_resolver() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let (socket, address) = server().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut room = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut room).await {
            seen.lock().unwrap().push(room[..length].to_vec());
            let _ = socket.send_to(&answer_to(&room[..length]), from).await;
        }
    });
    (address, asked)
}

/// A resolver by TCP that closes a connection after so many answers.
pub(super) async fn tcp_resolver(answers: usize) -> SocketAddr {
    let (listener, address) = crate::bench::server().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                for _ in 0..answers {
                    let Ok(query) = read_frame(&mut stream).await else {
                        return;
                    };
                    let answer = frame(&answer_to(&query));
                    let _ = stream.write_all(&answer).await;
                }
            });
        }
    });
    address
}

/// An HTTP proxy that connects to where it is asked to.
pub(super) async fn http_proxy() -> SocketAddr {
    let (listener, address) = crate::bench::server().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap();
                let mut to = TcpStream::connect(target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 ok\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut to).await;
            });
        }
    });
    address
}
