//! The engine behind the supervisor: it dials nobody.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use steer_core::address::Destination;
use steer_core::intent::Relay;
use steer_core::steered::{Flow, Refusal, Steered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What becomes of a connect, by the last byte of its destination.
pub(crate) async fn engine(mut steered: Steered, own: Own) {
    let Destination::Addr(to) = steered.destination.clone() else {
        panic!("a name");
    };
    let last = match to.addr().ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(ip) => ip.octets()[15],
    };
    let refusal = match last {
        1 => None,
        2 => Some(Refusal::Refused),
        3 => Some(Refusal::TimedOut),
        4 => Some(Refusal::HostUnreachable),
        5 => Some(Refusal::NetworkUnreachable),
        6 => Some(Refusal::Denied),
        7 => Some(Refusal::Reset),
        8 => {
            tokio::time::sleep(SLOW).await;
            None
        }
        9 => {
            tokio::time::sleep(SLOW).await;
            Some(Refusal::Refused)
        }
        10 => {
            let _unanswered = Unanswered::new();
            return steered.answer.gone().unwrap().await;
        }
        last @ (11..=13) => {
            // Past the engine, where that is allowed and a nonblocking call still waits for it; by
            // way of it to the same end elsewhere.
            let allowed = steered.answer.can_hand_over();
            assert!(own.allowed || !allowed);
            match last {
                _ if !allowed => {}
                13 => {
                    let _unanswered = Unanswered::new();
                    // A nonblocking one is begun, and left to the program.
                    let _ = steered.answer.hand_over(&[own.silent]).await;
                    return;
                }
                last => {
                    HANDED_OVER.fetch_add(1, Relaxed);
                    let to = if last == 11 { own.echo } else { own.nobody };
                    let handed = steered.answer.hand_over(&[to]).await;
                    return assert!(handed.is_ok() || last == 12, "{handed:?}");
                }
            }
            (last != 11).then_some(Refusal::Refused)
        }
        other => panic!("nobody answers for {other}"),
    };
    if let Some(refusal) = refusal {
        return steered.answer.failed(steered.flow, refusal).await;
    }
    if steered.answer.connected(&mut steered.flow).await.is_err() {
        return;
    }
    let Flow::Tcp(mut stream) = steered.flow else {
        panic!("no stream was put in place");
    };
    let mut room = vec![0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut room).await {
        if stream.write_all(&room[..n]).await.is_err() {
            return;
        }
    }
    let _ = socket2::SockRef::from(&stream).set_linger(None);
}

/// Connects that nobody answers: each ends when nobody waits for it any more.
pub(crate) static UNANSWERED: AtomicUsize = AtomicUsize::new(0);

/// Connections past the engine.
pub(crate) static HANDED_OVER: AtomicUsize = AtomicUsize::new(0);

struct Unanswered;

impl Unanswered {
    fn new() -> Self {
        UNANSWERED.fetch_add(1, Relaxed);
        Self
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        UNANSWERED.fetch_sub(1, Relaxed);
    }
}

/// Where connections go that are handed over.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    echo: SocketAddr,
    nobody: SocketAddr,
    silent: SocketAddr,
    /// Whether the method offers it.
    allowed: bool,
}

impl Own {
    pub(crate) fn open(relay: Relay) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let echo = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(|| {
                    let stream = stream.unwrap();
                    std::io::copy(&mut &stream, &mut &stream)
                });
            }
        });
        // Bound and not listening: refused, and nobody else's.
        let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let nobody = nobody.unwrap();
        nobody
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let at = nobody.local_addr().unwrap().as_socket().unwrap();
        std::mem::forget(nobody);
        // Nobody accepts, and the queue is full.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let full = full.unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        std::mem::forget((TcpStream::connect(silent).unwrap(), full));
        Self {
            echo,
            nobody: at,
            silent,
            allowed: relay == Relay::Needed,
        }
    }
}

/// Longer than a nonblocking call waits for the engine's choice.
const SLOW: Duration = Duration::from_millis(150);
