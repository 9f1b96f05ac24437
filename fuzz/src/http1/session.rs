//! A session over bytes in memory, whose gateway answers every request itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use steer_http::{Connected, End, Gateway, Limits, Refused, Request, Response, Verdict, http1};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the gateway is asked, and what the client is told but for dates.
pub(super) fn serve(bytes: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<String>, String) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let client = Client {
        bytes: bytes.to_vec(),
        cuts: cuts.to_vec(),
        at: 0,
        told: Arc::clone(&told),
    };
    let gateway = Arc::new(Asked::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let served = http1::serve(client, Vec::new(), Arc::clone(&gateway), limits.clone());
    // How it ends is for the log.
    let _ended = runtime.block_on(served);
    let asked = std::mem::take(&mut *gateway.0.lock().unwrap_or_else(PoisonError::into_inner));
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let told = String::from_utf8_lossy(&told);
    let told = told.lines().filter(|line| !line.starts_with("date:"));
    (asked, told.collect::<Vec<_>>().join("\n"))
}

/// Notes what it is asked.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<String>>);

impl Gateway for Asked {
    type Way = ();
    type Exchange = ();

    async fn request(&self, request: &mut Request) -> ((), Verdict<()>) {
        let asked = format!(
            "{} {} {:?}",
            request.method, request.target, request.authority
        );
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked);
        ((), Verdict::Respond(Refused::plain(403, "no")))
    }

    async fn connect(&self, _way: &()) -> Result<Connected, Refused> {
        unreachable!("nothing is forwarded")
    }

    async fn response(&self, _exchange: &mut (), _response: &mut Response) {}

    fn ended(&self, _exchange: (), _end: &End) {}
}

/// A client that has sent all that it ever will, of which no read gives more than a piece.
struct Client {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
    at: usize,
    told: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.cuts.iter().copied().find(|cut| *cut > self.at);
        let end = end.unwrap_or(self.bytes.len()).min(self.bytes.len());
        let count = buf.remaining().min(end - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
