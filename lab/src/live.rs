//! Many connections that keep talking while something happens to them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, End};
use crate::host::{Host, SMALL_STACK};
use crate::watched::Watched;

/// Connections to an echo server that send numbered lines until they end or are stopped.
///
/// Line n of connection c is `live CCCC NNNNNNNN\n`. Sending does not wait for the echo, as an
/// unaware program's sending would not.
#[derive(Debug)]
pub struct Live {
    state: Arc<Watched<Vec<LiveConnection>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One of the connections of [`Live`], as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveConnection {
    /// The address that it is bound to.
    pub local: SocketAddr,
    /// How many lines the kernel took.
    pub sent: u64,
    /// How many lines came back, whole and in order.
    pub echoed: u64,
    /// Whether anything came back that was not the next line.
    pub corrupt: bool,
    /// How it ended, [`End::Open`] while it stands.
    pub end: End,
}

impl Live {
    /// Opens `count` connections from inside the host; panics when one cannot be made.
    pub fn start(host: &Host, destination: SocketAddr, count: usize) -> Self {
        let clients = host.many(count, |index| {
            let client = Client::connect(destination);
            client.unwrap_or_else(|failure| {
                panic!("live connection {index} to {destination}: {failure:?}")
            })
        });
        Self::over(clients)
    }

    /// Lets connections talk that were made elsewhere, such as by an [`Agent`](crate::Agent).
    pub fn over(clients: Vec<Client>) -> Self {
        let fresh = |client: &Client| LiveConnection {
            local: client.local(),
            sent: 0,
            echoed: 0,
            corrupt: false,
            end: End::Open,
        };
        let state = Arc::new(Watched::new(clients.iter().map(fresh).collect::<Vec<_>>()));
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(index, client)| {
            let speaker = Speaker {
                index,
                client,
                state: Arc::clone(&state),
                stop: Arc::clone(&stop),
            };
            let thread = thread::Builder::new()
                .stack_size(SMALL_STACK)
                .spawn(move || speaker.run());
            thread.expect("the machine has room for a thread")
        };
        let threads = clients.into_iter().enumerate().map(start).collect();
        Self {
            state,
            stop,
            threads,
        }
    }

    /// All connections as they stand.
    pub fn seen(&self) -> Vec<LiveConnection> {
        self.state.read(Clone::clone)
    }

    /// Waits until the connections satisfy the condition, and gives them.
    pub fn wait_for(&self, wanted: impl Fn(&[LiveConnection]) -> bool) -> Vec<LiveConnection> {
        self.state
            .expect("what the live connections should see", |seen| {
                wanted(seen).then(|| seen.clone())
            })
    }

    /// Waits until each connection, from here on, has sent and received another line.
    pub fn wait_round(&self) -> Vec<LiveConnection> {
        let before = self.seen();
        let moved = |(one, then): (&LiveConnection, &LiveConnection)| one.echoed > then.sent;
        self.wait_for(|seen| seen.iter().zip(&before).all(moved))
    }

    /// Waits until all connections have ended, each by itself.
    pub fn wait_ended(&self) -> Vec<LiveConnection> {
        self.wait_for(|seen| seen.iter().all(|one| one.end != End::Open))
    }

    /// Stops sending, closes what stands, and gives the last word of each.
    pub fn stop(mut self) -> Vec<LiveConnection> {
        self.halt();
        self.seen()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a speaker does not panic");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The thread of one connection.
struct Speaker {
    index: usize,
    client: Client,
    state: Arc<Watched<Vec<LiveConnection>>>,
    stop: Arc<AtomicBool>,
}

impl Speaker {
    fn run(self) {
        let mut unread = Vec::new();
        let (mut sent, mut echoed) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(error) = self
                .client
                .stream()
                .write_all(line(self.index, sent).as_bytes())
            {
                return self.note(|one| one.end = End::of(&error));
            }
            sent += 1;
            self.note(|one| one.sent = sent);
            let end = self.listen(&mut unread);
            let mut corrupt = false;
            while unread.len() >= LINE && !corrupt {
                corrupt = unread.drain(..LINE).as_slice() != line(self.index, echoed).as_bytes();
                echoed += u64::from(!corrupt);
            }
            self.note(|one| {
                one.echoed = echoed;
                one.corrupt |= corrupt;
                one.end = end;
            });
            // After a FIN an unaware program would go on sending, so only errors end the loop.
            if !matches!(end, End::Open | End::Fin) {
                return;
            }
        }
        self.note(|one| {
            if one.end == End::Open {
                one.end = End::Closed;
            }
        });
    }

    /// Reads for one beat.
    fn listen(&self, unread: &mut Vec<u8>) -> End {
        let end = Instant::now() + BEAT;
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Open;
            }
            self.client
                .stream()
                .set_read_timeout(Some(left))
                .expect("a socket takes options");
            match self.client.stream().read(&mut buffer) {
                Ok(0) => {
                    // The beat goes on, or a finished connection would send without pause.
                    thread::sleep(left);
                    return End::Fin;
                }
                Ok(count) => unread.extend_from_slice(&buffer[..count]),
                Err(error) if End::of(&error) == End::Open => return End::Open,
                Err(error) => return End::of(&error),
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut LiveConnection)) {
        self.state.update(|all| change(&mut all[self.index]));
    }
}

fn line(connection: usize, number: u64) -> String {
    format!("live {connection:04} {number:08}\n")
}

const LINE: usize = "live 0000 00000000\n".len();
/// The pause between two lines of one connection.
const BEAT: Duration = Duration::from_millis(50);
