//! Servers at the other end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use steer_core::address::Family;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use tokio::task::JoinSet;

/// A server on loopback; dropping it ends it.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Origin {
    /// The port under a name that the engine knows.
    pub(crate) fn named(&self) -> String {
        format!("origin.test:{}", self.address.port())
    }
}

/// Answers each HTTP request with the very bytes of the request as the body.
pub(crate) async fn mirror() -> Origin {
    start(|mut stream| async move {
        let mut request = Vec::new();
        while !complete(&request) {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            request.len()
        );
        stream.write_all(head.as_bytes()).await.ok();
        stream.write_all(&request).await.ok();
    })
    .await
}

/// Sends back what it gets, and ends when the client has ended.
pub(crate) async fn echo() -> Origin {
    start(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.ok();
    })
    .await
}

/// Sends datagrams back, each as it came.
pub(crate) async fn udp_echo(family: Family) -> Origin {
    let socket = UdpSocket::bind((family.loopback(), 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut datagram = vec![0; 1 << 16];
        loop {
            let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
            socket.send_to(&datagram[..length], from).await.ok();
        }
    });
    Origin {
        address,
        _tasks: tasks,
    }
}

/// A port that nobody listens on.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Counts its connections and ends each at once.
pub(crate) async fn counter(address: impl ToSocketAddrs) -> (Origin, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let origin = start_at(address, move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { drop(stream) }
    });
    (origin.await, count)
}

async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Origin
where
    F: Future<Output = ()> + Send + 'static,
{
    start_at("127.0.0.1:0", serve).await
}

async fn start_at<F>(
    address: impl ToSocketAddrs,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Origin
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream));
        }
    });
    Origin {
        address,
        _tasks: tasks,
    }
}

/// Whether a request has arrived with its body.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    if let Some((_, length)) = head.split_once("\r\ncontent-length:") {
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        body.len() >= length
    } else if head.contains("\r\ntransfer-encoding:") {
        body.ends_with("0\r\n\r\n") || body.contains("\r\n0\r\n")
    } else {
        true
    }
}
