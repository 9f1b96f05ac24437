//! Requests a second through a session, beside those through a plain relay: run it by hand with
//! `cargo test --release -p steer-http --test http1_speed -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use steer_http::{Connected, End, Gateway, Limits, Refused, Request, Response, Verdict, http1};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const REQUEST: &[u8] = b"GET /some/path?with=a&query=b HTTP/1.1\r\nHost: example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: test\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\
    ETag: \"0123456789abcdef\"\r\nAccept-Ranges: bytes\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a release build on a quiet machine"]
async fn speed() {
    let server = serve_responses().await;
    for _ in 0..3 {
        let relay = relay_to(server).await;
        let session = session_to(server).await;
        let plain = rate(relay).await;
        let http = rate(session).await;
        println!(
            "relay {plain:.0}/s, session {http:.0}/s, {:.2}",
            http / plain
        );
    }
}

/// Requests a second of so many clients at a time.
async fn rate(to: std::net::SocketAddr) -> f64 {
    let until = Instant::now() + Duration::from_secs(4);
    let clients = (0..16).map(|_| {
        tokio::spawn(async move {
            let mut stream = connected(to).await;
            let mut response = vec![0; RESPONSE.len()];
            let mut count = 0_u32;
            while Instant::now() < until {
                stream.write_all(REQUEST).await.expect("written");
                stream.read_exact(&mut response).await.expect("answered");
                count += 1;
            }
            assert_eq!(response, RESPONSE);
            count
        })
    });
    let mut sum = 0.0;
    for client in clients.collect::<Vec<_>>() {
        sum += f64::from(client.await.expect("no panic"));
    }
    sum / 4.0
}

async fn connected(to: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    stream
}

async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> std::net::SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("set");
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve_responses() -> std::net::SocketAddr {
    listen(|mut stream| async move {
        let mut request = vec![0; REQUEST.len()];
        while stream.read_exact(&mut request).await.is_ok() {
            stream.write_all(RESPONSE).await.expect("written");
        }
    })
    .await
}

async fn relay_to(server: std::net::SocketAddr) -> std::net::SocketAddr {
    listen(move |mut stream| async move {
        let mut upstream = connected(server).await;
        let _ = copy_bidirectional(&mut stream, &mut upstream).await;
    })
    .await
}

async fn session_to(server: std::net::SocketAddr) -> std::net::SocketAddr {
    listen(move |stream| async move {
        let gateway = Arc::new(Direct(server));
        let _ = http1::serve(stream, Vec::new(), gateway, Limits::default()).await;
    })
    .await
}

struct Direct(std::net::SocketAddr);

impl Gateway for Direct {
    type Way = ();
    type Exchange = ();

    async fn request(&self, _: &mut Request) -> ((), Verdict<()>) {
        ((), Verdict::Forward(()))
    }

    async fn connect(&self, (): &()) -> Result<Connected, Refused> {
        Ok(Connected {
            stream: Box::new(connected(self.0).await),
            absolute: false,
        })
    }

    async fn response(&self, (): &mut (), _: &mut Response) {}

    fn ended(&self, (): (), _: &End) {}
}
