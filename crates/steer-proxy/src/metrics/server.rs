//! Serves the page to Prometheus: one small request a connection, within bounds.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// What a server is asked for.
pub trait Status: fmt::Debug + Send + Sync + 'static {
    /// The page at `/metrics`.
    fn page(&self) -> String;

    /// Whether traffic is taken: what `/ready` says.
    fn is_ready(&self) -> bool;
}

/// An address that metrics cannot be served at.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be served at {address}")]
pub struct ServerError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

impl ServerError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "see who listens there (ss -ltnp 'sport = :{}'), or write another port in \
                     metrics.listen",
                    self.address.port()
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                "write an address of this host in metrics.listen".to_owned()
            }
            _ => "write another address or a port from 1024 on in metrics.listen".to_owned(),
        }
    }
}

/// An address that is bound, and not yet served.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds an address; whoever connects waits until it is served.
    pub fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let bound = std::net::TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        bound.map_err(|source| ServerError { address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped; an exchange that has begun is dropped with it.
    ///
    /// # Errors
    /// It is called outside of a runtime that does IO.
    pub async fn serve(self, status: Arc<dyn Status>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let mut exchanges = tokio::task::JoinSet::new();
        loop {
            let accepted = listener.accept().await;
            while exchanges.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        // Somebody opens connections and asks nothing; they end in time.
                        continue;
                    };
                    let status = Arc::clone(&status);
                    exchanges.spawn(async move {
                        let _ = timeout(LONGEST, exchange(stream, status.as_ref())).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "no connection for metrics was accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Connections at a time: some scrapers and a probe.
const MOST_AT_ONCE: usize = 16;

/// How long a connection may last.
const LONGEST: Duration = Duration::from_secs(10);

/// How long accepting rests after a failure: descriptors come back in their own time.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a request's head.
const MOST_HEAD: usize = 8 * 1024;

/// Bytes of further requests that are thrown away, so that closing does not reset the answer.
const MOST_REST: usize = 64 * 1024;

async fn exchange(mut stream: TcpStream, status: &dyn Status) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let answer = loop {
        match read(&head) {
            Some(asked) => break answer(asked, status),
            None if head.len() >= MOST_HEAD => {
                break Answer::text(431, "the head is too long", Body::Sent);
            }
            None => {}
        }
        let room = MOST_HEAD - head.len();
        if (&mut stream).take(room as u64).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    stream.write_all(&answer.bytes()).await?;
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the answer with it.
    let mut rest = [0; 1024];
    let mut left = MOST_REST;
    while left > 0 {
        match stream.read(&mut rest).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// What a head asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked<'a> {
    Page(Body, &'a str),
    /// Another method.
    Other,
    Malformed,
}

/// Whether the body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Sent,
    /// `HEAD`.
    Left,
}

/// Reads a head; none where it goes on.
fn read(bytes: &[u8]) -> Option<Asked<'_>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let target = request.path.unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            Some(match request.method {
                Some("GET") => Asked::Page(Body::Sent, path),
                Some("HEAD") => Asked::Page(Body::Left, path),
                _ => Asked::Other,
            })
        }
        Err(_) => Some(Asked::Malformed),
    }
}

fn answer(asked: Asked<'_>, status: &dyn Status) -> Answer {
    match asked {
        Asked::Page(body, "/metrics") => Answer {
            status: 200,
            kind: "text/plain; version=0.0.4; charset=utf-8",
            text: status.page(),
            body,
        },
        Asked::Page(body, "/healthz") => Answer::text(200, "ok", body),
        Asked::Page(body, "/ready") => match status.is_ready() {
            true => Answer::text(200, "ready", body),
            false => Answer::text(503, "not ready", body),
        },
        Asked::Page(body, _) => Answer::text(404, "there are /metrics, /healthz and /ready", body),
        Asked::Other => Answer::text(405, "GET and HEAD are answered", Body::Sent),
        Asked::Malformed => Answer::text(400, "this is no request", Body::Sent),
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    kind: &'static str,
    text: String,
    body: Body,
}

impl Answer {
    fn text(status: u16, text: &str, body: Body) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            text: format!("{text}\n"),
            body,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self {
            status,
            kind,
            text,
            body,
        } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let allow = match status {
            405 => "allow: GET, HEAD\r\n",
            _ => "",
        };
        let length = text.len();
        let mut bytes = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             {allow}cache-control: no-store\r\nx-content-type-options: nosniff\r\n\
             connection: close\r\n\r\n"
        );
        if *body == Body::Sent {
            bytes.push_str(text);
        }
        bytes.into_bytes()
    }
}

#[cfg(test)]
mod tests;
