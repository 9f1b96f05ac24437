//! An engine fed by an intake of the test's own, with servers and proxies around it.
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fast_socks5::server::Socks5ServerProtocol;
use socket2::Socket;
use steer_core::address::{ClientAddr, Destination, Family};
use steer_core::intake::Intake;
use steer_core::method::Method;
use steer_core::netns::MakeSockets;
use steer_core::policy::{
    Action, App, Condition, Credentials, Policy, Rule, Upstream, UpstreamKind,
};
use steer_core::steered::{Answer, Flow, Identity, Refusal, ResetAnswer, Steered, reset_on_close};
use steer_proxy::engine::{Engine, EngineBuilder};
use steer_proxy::record::{Record, Recorder, RequestRecord};
use steer_proxy::upstream::{PlainSockets, SocketFactory};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What an event brings; it has a deadline.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), event)
        .await
        .expect("it happens before the deadline")
}

/// Steered connections that a test makes.
#[derive(Debug)]
struct Given(mpsc::UnboundedReceiver<Steered>);

#[async_trait]
impl Intake for Given {
    async fn next(&mut self) -> Option<Steered> {
        self.0.recv().await
    }
}

/// Lines as they are written, each as a record: of a connection, or of a request.
struct Lines {
    record_tx: mpsc::UnboundedSender<Record>,
    request_tx: mpsc::UnboundedSender<RequestRecord>,
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line) {
                Ok(record) => drop(self.record_tx.send(record)),
                Err(_) => drop(self.request_tx.send(serde_json::from_slice(line)?)),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) steered_tx: mpsc::UnboundedSender<Steered>,
    records: mpsc::UnboundedReceiver<Record>,
    requests: mpsc::UnboundedReceiver<RequestRecord>,
    /// Where the programs are, where that is elsewhere.
    pub(crate) inside: Option<Arc<dyn MakeSockets>>,
}

impl Bench {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::with(Engine::builder(policy))
    }

    pub(crate) fn with(builder: EngineBuilder) -> Self {
        let (record_tx, records) = mpsc::unbounded_channel();
        let (request_tx, requests) = mpsc::unbounded_channel();
        let lines = Lines {
            record_tx,
            request_tx,
        };
        let engine = builder
            .recorder(Recorder::to(lines).unwrap())
            .build()
            .unwrap();
        let (steered_tx, given) = mpsc::unbounded_channel();
        tokio::spawn(engine.clone().serve(Box::new(Given(given))));
        Self {
            engine,
            steered_tx,
            records,
            requests,
            inside: None,
        }
    }

    /// The same, with programs that are where these sockets are made.
    pub(crate) fn inside(self, inside: Arc<dyn MakeSockets>) -> Self {
        Self {
            inside: Some(inside),
            ..self
        }
    }

    /// A program whose connection to `destination` is steered to the engine.
    pub(crate) async fn program(&self, destination: impl Into<Target>) -> TcpStream {
        self.program_with(destination, Box::new(ResetAnswer)).await
    }

    pub(crate) async fn program_with(
        &self,
        destination: impl Into<Target>,
        answer: Box<dyn Answer>,
    ) -> TcpStream {
        self.bring(destination, answer, None, None).await
    }

    /// A program whose connection to a resolver is taken by a listener for DNS.
    pub(crate) async fn dns_program(&self, resolver: impl Into<Target>) -> TcpStream {
        let answer = Box::new(ResetAnswer);
        self.bring(resolver, answer, Some(App::Dns), None).await
    }

    /// A program that the method says is at another address than it is.
    pub(crate) async fn program_from(
        &self,
        client: SocketAddr,
        destination: impl Into<Target>,
    ) -> TcpStream {
        let answer = Box::new(ResetAnswer);
        self.bring(destination, answer, None, Some(client)).await
    }

    async fn bring(
        &self,
        destination: impl Into<Target>,
        answer: Box<dyn Answer>,
        app: Option<App>,
        from: Option<SocketAddr>,
    ) -> TcpStream {
        let (listener, address) = server().await;
        let (program, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, client) = accepted.unwrap();
        reset_on_close(&stream).unwrap();
        let identity = Identity {
            pid: Some(7),
            uid: Some(1000),
            exe: None,
            ..Identity::default()
        };
        let steered = Steered {
            flow: Flow::Tcp(stream),
            client: ClientAddr(from.unwrap_or(client)),
            destination: destination.into().0,
            identity,
            via: Method::Redirect,
            upstream: None,
            app,
            inside: self.inside.clone(),
            answer,
        };
        self.steered_tx.send(steered).unwrap();
        program.unwrap()
    }

    /// Whether no record waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.records.is_empty()
    }

    /// The record of the request that ended first of those not asked for yet.
    pub(crate) async fn request(&mut self) -> RequestRecord {
        soon(self.requests.recv()).await.unwrap()
    }

    pub(crate) async fn record(&mut self) -> Record {
        soon(self.records.recv()).await.unwrap()
    }
}

pub(crate) struct Target(Destination);

impl Target {
    pub(crate) fn destination(self) -> Destination {
        self.0
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self(Destination::addr(address))
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        Self(text.parse().unwrap())
    }
}

pub(crate) async fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port at which nothing listens, kept from others for as long as the socket lives.
pub(crate) fn closed_port() -> (Socket, SocketAddr) {
    let socket = PlainSockets.tcp(Family::V4).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

pub(crate) fn rule(name: &str, condition: Condition, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        condition,
        action,
        http: Default::default(),
        tls: Default::default(),
    }
}

pub(crate) fn through(
    name: &str,
    kind: UpstreamKind,
    address: SocketAddr,
    credentials: Option<Credentials>,
) -> Policy {
    Policy {
        upstreams: vec![Upstream {
            credentials,
            ..Upstream::new(name, kind, Destination::addr(address))
        }],
        rules: vec![rule(
            "all",
            Condition::default(),
            Action::Upstream(name.to_owned()),
        )],
        ..Policy::default()
    }
}

/// A SOCKS5 proxy that tells what it was asked for and then plays the destination.
pub(crate) async fn socks5_proxy() -> (SocketAddr, oneshot::Receiver<(String, TcpStream)>) {
    let (listener, address) = server().await;
    let (asked_tx, asked) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let proxy = Socks5ServerProtocol::accept_no_auth(stream).await.unwrap();
        let (proxy, _, target) = proxy.read_command().await.unwrap();
        let stream = proxy.reply_success(address).await.unwrap();
        let _ = asked_tx.send((target.to_string(), stream));
    });
    (address, asked)
}

pub(crate) async fn broken(stream: &mut TcpStream) -> ErrorKind {
    soon(stream.read_to_end(&mut Vec::new()))
        .await
        .expect_err("the stream breaks")
        .kind()
}

/// Tells the test what the client would have been told.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) mpsc::UnboundedSender<Result<(), Refusal>>);

#[async_trait]
impl Answer for Told {
    async fn connected(&mut self, _flow: &mut Flow) -> io::Result<()> {
        self.0
            .send(Ok(()))
            .map_err(|_| ErrorKind::BrokenPipe.into())
    }

    async fn failed(self: Box<Self>, _flow: Flow, why: Refusal) {
        self.0.send(Err(why)).unwrap();
    }
}
