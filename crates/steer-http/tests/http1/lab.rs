//! A session with its client and its servers.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use steer_http::{
    Connected, End, Gateway, Limits, Refused, Request, Response, SessionError, Verdict, http1,
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a server does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads exactly these bytes.
    Read(Vec<u8>),
    /// Reads the end.
    ReadEnd,
    Write(Vec<u8>),
    /// Ends its own side and lets the other stand.
    End,
    /// Lets a minute pass.
    Wait,
    /// Writes so many bytes back as they come.
    Echo(u64),
    /// Reads what comes, for ever.
    Hold,
}

pub(crate) fn read(bytes: impl AsRef<[u8]>) -> Step {
    Step::Read(bytes.as_ref().to_vec())
}

pub(crate) fn write(bytes: impl AsRef<[u8]>) -> Step {
    Step::Write(bytes.as_ref().to_vec())
}

/// A plain request.
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// A plain response.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

type OnRequest = dyn Fn(&mut Request) -> Verdict<String> + Send + Sync;
type OnResponse = dyn Fn(&mut Response) + Send + Sync;

/// How the session is to be.
pub(crate) struct Lab {
    pub(crate) limits: Limits,
    pub(crate) prefix: Vec<u8>,
    pub(crate) on_request: Box<OnRequest>,
    pub(crate) on_response: Box<OnResponse>,
    pub(crate) absolute: bool,
    /// A server a connection; one more connection is refused with 503.
    pub(crate) servers: Vec<Vec<Step>>,
}

impl Lab {
    pub(crate) fn new(servers: impl IntoIterator<Item = Vec<Step>>) -> Self {
        Self {
            limits: Limits::default(),
            prefix: Vec::new(),
            on_request: Box::new(|_| Verdict::Forward("way".to_owned())),
            on_response: Box::new(|_| {}),
            absolute: false,
            servers: servers.into_iter().collect(),
        }
    }

    /// Starts the session.
    pub(crate) fn start(self) -> Running {
        let (near, far) = duplex(256 * 1024);
        let shut = Arc::new(AtomicBool::new(false));
        let gateway = Arc::new(Scripted {
            servers: Mutex::new(self.servers.into()),
            tasks: Mutex::default(),
            ends: Mutex::default(),
            draining: tokio::sync::watch::Sender::new(false),
            on_request: self.on_request,
            on_response: self.on_response,
            absolute: self.absolute,
        });
        let watched = Watched {
            stream: far,
            shut: Arc::clone(&shut),
        };
        let serve = http1::serve(watched, self.prefix, Arc::clone(&gateway), self.limits);
        Running {
            size: size_of_val(&serve),
            client: near,
            session: tokio::spawn(serve),
            gateway,
            shut,
        }
    }
}

/// A session that runs.
pub(crate) struct Running {
    /// Bytes of the session's future.
    pub(crate) size: usize,
    pub(crate) client: DuplexStream,
    pub(crate) session: JoinHandle<Result<(), SessionError>>,
    gateway: Arc<Scripted>,
    shut: Arc<AtomicBool>,
}

/// What a session came to.
pub(crate) struct Ran {
    pub(crate) result: Result<(), SessionError>,
    pub(crate) ends: Vec<End>,
    pub(crate) connects: usize,
    /// Whether the client's stream was shut down in order.
    pub(crate) shut: bool,
}

impl Running {
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.client.write_all(bytes.as_ref()).await;
        written.expect("the session reads");
    }

    /// Ends the client's side alone.
    pub(crate) async fn end(&mut self) {
        self.client.shutdown().await.expect("a stream in memory");
    }

    pub(crate) async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let wanted = bytes.as_ref();
        let mut got = vec![0; wanted.len()];
        let read = timeout(DEADLINE, self.client.read_exact(&mut got)).await;
        read.expect("in time").expect("as many bytes as wanted");
        assert_eq!(
            got.escape_ascii().to_string(),
            wanted.escape_ascii().to_string()
        );
    }

    /// What the client gets until its end.
    pub(crate) async fn rest(&mut self) -> String {
        let mut got = Vec::new();
        let read = timeout(DEADLINE, self.client.read_to_end(&mut got)).await;
        read.expect("in time").expect("a stream in memory");
        String::from_utf8(got).expect("tests write text")
    }

    /// What has been told about exchanges so far.
    pub(crate) fn ends(&self) -> Vec<End> {
        self.gateway.ends.lock().expect("no panic").clone()
    }

    /// Has its gateway drain.
    pub(crate) fn drain(&self) {
        self.gateway.draining.send_replace(true);
    }

    /// Waits for the session and its servers, whose scripts must have come to their ends.
    pub(crate) async fn ended(self) -> Ran {
        let ran = timeout(DEADLINE, self.session).await;
        let result = ran.expect("the session ends in time").expect("no panic");
        let shut = self.shut.load(SeqCst);
        drop(self.client);
        let tasks = std::mem::take(&mut *self.gateway.tasks.lock().expect("no panic"));
        let connects = tasks.len();
        for task in tasks {
            let ended = timeout(DEADLINE, task).await;
            ended
                .expect("the server ends in time")
                .expect("the script went on");
        }
        let ends = std::mem::take(&mut *self.gateway.ends.lock().expect("no panic"));
        Ran {
            result,
            ends,
            connects,
            shut,
        }
    }
}

struct Scripted {
    servers: Mutex<VecDeque<Vec<Step>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    ends: Mutex<Vec<End>>,
    draining: tokio::sync::watch::Sender<bool>,
    on_request: Box<OnRequest>,
    on_response: Box<OnResponse>,
    absolute: bool,
}

impl Gateway for Scripted {
    type Way = String;
    type Exchange = ();

    async fn request(&self, request: &mut Request) -> ((), Verdict<String>) {
        ((), (self.on_request)(request))
    }

    async fn connect(&self, _: &String) -> Result<Connected, Refused> {
        let script = self.servers.lock().expect("no panic").pop_front();
        let script = script.ok_or_else(|| Refused::plain(503, "no server is left"))?;
        let (near, far) = duplex(256 * 1024);
        let task = tokio::spawn(play(far, script));
        self.tasks.lock().expect("no panic").push(task);
        Ok(Connected {
            stream: Box::new(near),
            absolute: self.absolute,
        })
    }

    async fn response(&self, (): &mut (), response: &mut Response) {
        (self.on_response)(response);
    }

    fn ended(&self, (): (), end: &End) {
        self.ends.lock().expect("no panic").push(end.clone());
    }

    async fn drain(&self) {
        let mut draining = self.draining.subscribe();
        let _ = draining.wait_for(|draining| *draining).await;
    }
}

async fn play(mut stream: DuplexStream, script: Vec<Step>) {
    for step in script {
        match step {
            Step::Read(wanted) => {
                let mut got = vec![0; wanted.len()];
                let mut filled = 0;
                while filled < got.len() {
                    match stream.read(&mut got[filled..]).await.expect("in memory") {
                        0 => break,
                        count => filled += count,
                    }
                }
                let got = got[..filled].escape_ascii().to_string();
                assert_eq!(got, wanted.escape_ascii().to_string());
            }
            Step::ReadEnd => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.expect("in memory");
                assert_eq!(rest.escape_ascii().to_string(), "");
            }
            Step::Write(bytes) => {
                // A session that has heard enough is gone; what it made of it shows at the client.
                let _ = stream.write_all(&bytes).await;
                // The next bytes shall be read apart from these.
                pause().await;
            }
            Step::End => stream.shutdown().await.expect("in memory"),
            Step::Wait => tokio::time::sleep(Duration::from_secs(60)).await,
            Step::Echo(count) => {
                let (reading, mut writing) = tokio::io::split(&mut stream);
                let copied = tokio::io::copy(&mut reading.take(count), &mut writing).await;
                assert_eq!(copied.expect("in memory"), count);
            }
            Step::Hold => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.expect("in memory");
            }
        }
    }
}

/// Lets the others do what they can.
pub(crate) async fn pause() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// Notes a shutdown.
struct Watched {
    stream: DuplexStream,
    shut: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut.store(true, SeqCst);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// When a test has failed, in time that passes where nothing else happens.
const DEADLINE: Duration = Duration::from_secs(3600);
