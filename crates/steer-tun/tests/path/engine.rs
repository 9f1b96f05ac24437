//! An engine that is every server.

use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use steer_core::address::Destination;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::steered::{Flow, abort};
use steer_tun::intake;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Sends back what comes, until its end.
pub(crate) const ECHO: u16 = 7;
/// Takes what comes, and after its end tells what it was.
pub(crate) const DIGEST: u16 = 9;
/// Sends [`SOURCED`] bytes, ends its half, and then does as [`DIGEST`], to the record.
pub(crate) const SOURCE: u16 = 19;
/// Resets.
pub(crate) const RESET: u16 = 500;
/// Takes what comes for as long as it comes.
pub(crate) const SINK: u16 = 5001;
/// Sends for as long as it is taken.
pub(crate) const FLOOD: u16 = 5002;

/// The bytes that a source sends.
pub(crate) const SOURCED: usize = 12 << 20;

/// What an engine has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The ends of each connection.
    pub(crate) ends: Vec<(SocketAddr, SocketAddr)>,
    /// What was told to sources.
    pub(crate) told: Vec<String>,
    /// Connections that broke.
    pub(crate) broken: Vec<String>,
}

/// An engine that answers for every destination.
pub(crate) struct Engine {
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl Engine {
    pub(crate) fn start(intent: &Intent, bound: Bound) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let within = runtime.enter();
        let intake = intake::of(intent, bound).unwrap();
        drop(within);
        runtime.spawn(take(intake, Arc::clone(&seen)));
        Self {
            seen,
            runtime: Some(runtime),
        }
    }

    /// Looks at what was seen.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn take(mut intake: Box<dyn Intake>, seen: Arc<Mutex<Seen>>) {
    while let Some(steered) = intake.next().await {
        let Destination::Addr(to) = steered.destination else {
            panic!("a name: {steered:?}");
        };
        let to = to.addr();
        let Flow::Tcp(stream) = steered.flow else {
            continue;
        };
        seen.lock().unwrap().ends.push((steered.client.0, to));
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            if let Err(error) = serve(stream, to.port(), &seen).await {
                let mut seen = seen.lock().unwrap();
                seen.broken.push(format!("{to}: {error}"));
            }
        });
    }
}

async fn serve(mut stream: TcpStream, port: u16, seen: &Mutex<Seen>) -> std::io::Result<()> {
    match port {
        ECHO => {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await?;
            to.shutdown().await?;
        }
        SOURCE => {
            let bytes = pattern(SOURCED);
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            let told = digest_of(&mut stream).await?;
            seen.lock().unwrap().told.push(told);
        }
        RESET => abort(stream),
        SINK => {
            let mut room = vec![0; 128 << 10];
            while stream.read(&mut room).await? > 0 {}
        }
        FLOOD => {
            let room = vec![0; 128 << 10];
            while stream.write_all(&room).await.is_ok() {}
        }
        _ => {
            let told = digest_of(&mut stream).await?;
            stream.write_all(told.as_bytes()).await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

async fn digest_of(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut hasher = DefaultHasher::new();
    let (mut room, mut length) = (vec![0; 64 << 10], 0);
    loop {
        let count = stream.read(&mut room).await?;
        if count == 0 {
            return Ok(format!("{length} {:016x}", hasher.finish()));
        }
        length += count;
        // One byte at a time, so that it does not matter how they came.
        room[..count].iter().for_each(|byte| hasher.write_u8(*byte));
    }
}

/// What is told of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.iter().for_each(|byte| hasher.write_u8(*byte));
    format!("{} {:016x}", bytes.len(), hasher.finish())
}

/// Bytes that differ wherever a packet may end.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
