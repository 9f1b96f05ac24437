//! The method on loopback, asked by a real program: what its plan opens, what comes out of it, and
//! what its addresses mean.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use steer_core::engaged::Engaged;
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intake::Intake;
use steer_core::intent::{Intent, Scope};
use steer_core::keeper::NoKeeper;
use steer_core::names::{Conversation, Meaning, Names, Query, Transport};
use steer_core::policy::App;
use steer_core::steered::{Flow, Steered};
use steer_core::steerer::Steerer;
use steer_dns::{Dns, Resolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// A steering in force, whose engine answers from the resolver and echoes what else comes.
struct Stage {
    _engaged: Engaged,
    _serving: JoinSet<()>,
    resolver: Arc<Resolver>,
    dns: u16,
    port: u16,
}

impl Stage {
    fn new() -> Self {
        let [dns, port] = free_ports();
        let instance = Instance::new("alone").expect("a literal name is valid");
        let mut intent = Intent::new(instance, Scope::default());
        intent.listen.dns = Some(dns);
        intent.resolve.resolver = Some("192.0.2.53:53".parse().expect("an address"));
        let include = &mut intent.traffic.include;
        include.ports = vec![port.to_string().parse().expect("a port")];
        include.domains = ["db.example", "*.wild.example"]
            .map(|name| name.parse().expect("a pattern"))
            .to_vec();
        let plan = Dns.plan(&intent, &Host::example()).expect("a plan");
        let resolver = steer_dns::for_plan(&intent, &plan).expect("nothing is in the way");
        let resolver = resolver.expect("the plan is of the method");
        let mut engaged =
            Engaged::engage(Box::new(NoKeeper), &intent, &plan, None).expect("the ports are free");
        let mut serving = JoinSet::new();
        for bound in engaged.take_bound() {
            let intake = Dns.intake(&intent, bound).expect("its own sockets");
            serving.spawn(serve(intake, Arc::clone(&resolver)));
        }
        Self {
            _engaged: engaged,
            _serving: serving,
            resolver,
            dns,
            port,
        }
    }

    /// What `dig` says in short.
    async fn dig(&self, words: &[&str]) -> String {
        let mut dig = Command::new("dig");
        dig.args(["@127.83.0.1", "-p", &self.dns.to_string()]);
        dig.args(["+short", "+tries=1", "+time=10"]).args(words);
        let output = blocking(move || dig.output().expect("dig starts")).await;
        let Output { status, stdout, .. } = output;
        assert!(status.success(), "{words:?}: {status}");
        String::from_utf8(stdout).expect("text")
    }

    async fn address(&self, name: &str) -> IpAddr {
        let said = self.dig(&[name, "A"]).await;
        said.trim_end()
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}: {said:?}"))
    }
}

/// Ports that are free on every address of the plan, for both protocols.
fn free_ports() -> [u16; 2] {
    let sockets = [(); 2].map(|()| TcpListener::bind("0.0.0.0:0").expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("it is bound").port())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn serve(mut intake: Box<dyn Intake>, resolver: Arc<Resolver>) {
    let mut each = JoinSet::new();
    while let Some(steered) = intake.next().await {
        each.spawn(one(steered, Arc::clone(&resolver)));
    }
}

async fn one(steered: Steered, resolver: Arc<Resolver>) {
    let client = steered.client.0.ip();
    let is_dns = steered.app == Some(App::Dns);
    let answer = |transport, said: &[u8]| match (is_dns, resolver.query(client, transport, said)) {
        (false, _) => said.to_vec(),
        (true, Query::Answer(answer)) => answer,
        (true, other) => panic!("{other:?}: the test asks for chosen names alone"),
    };
    match steered.flow {
        Flow::Udp(mut flow) => loop {
            let mut batch = steer_core::datagram::Batch::default();
            let received = std::future::poll_fn(|cx| flow.poll_receive(cx, &mut batch)).await;
            if received.is_err() {
                return;
            }
            let mut answers = steer_core::datagram::Batch::default();
            for said in batch.iter() {
                answers.push(&answer(Transport::Udp, said));
            }
            flow.send(&answers).expect("the client waits");
        },
        Flow::Tcp(mut stream) if is_dns => {
            let length = stream.read_u16().await.expect("a query");
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.expect("a whole query");
            let answer = answer(Transport::Tcp, &query);
            let length = u16::try_from(answer.len()).expect("it fits");
            stream.write_u16(length).await.expect("the client waits");
            stream.write_all(&answer).await.expect("the client waits");
        }
        Flow::Tcp(stream) => {
            let (mut from, mut to) = stream.into_split();
            tokio::io::copy(&mut from, &mut to).await.expect("an echo");
        }
        other => panic!("{other:?}"),
    }
}

fn has_dig() -> bool {
    let found = Command::new("dig").arg("-v").output().is_ok();
    if !found {
        eprintln!("skipped: there is no dig");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_name_is_reached_on_its_ports_over_both_protocols() {
    if !has_dig() {
        return;
    }
    let stage = Stage::new();
    let pinned = stage.address("db.example").await;
    assert_eq!(pinned.to_string(), "127.83.0.2", "as the plan says");
    let below = stage.address("a.wild.example").await;
    assert!(below.is_loopback() && below != pinned);
    assert_eq!(
        stage.dig(&["+tcp", "db.example", "A"]).await,
        "127.83.0.2\n"
    );
    assert_eq!(stage.dig(&["db.example", "AAAA"]).await, "");
    assert_eq!(stage.dig(&["db.example", "HTTPS"]).await, "");
    assert_eq!(stage.dig(&["-x", "127.83.0.2"]).await, "db.example.\n");
    for (ip, name) in [(pinned, "db.example"), (below, "a.wild.example")] {
        let at = SocketAddr::new(ip, stage.port);
        let echoes = blocking(move || [by_tcp(at), by_udp(at)]).await;
        assert_eq!(echoes, [*b"hello"; 2]);
        let meaning = stage.resolver.lookup(IpAddr::from([127, 0, 0, 1]), ip);
        assert_eq!(meaning, Meaning::Fake(name.parse().expect("a name")));
    }
    // An address in store that no name has yet.
    let free = (2..=66)
        .map(|last| IpAddr::from([127, 83, 0, last]))
        .find(|ip| *ip != pinned && *ip != below)
        .expect("there are many");
    let meaning = stage.resolver.lookup(IpAddr::from([127, 0, 0, 1]), free);
    assert_eq!(meaning, Meaning::Dead);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_not_written_is_refused() {
    if !has_dig() {
        return;
    }
    let stage = Stage::new();
    let [other, _] = free_ports();
    let at = SocketAddr::new(stage.address("db.example").await, other);
    let refused = blocking(move || TcpStream::connect(at)).await;
    let refused = refused.expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

fn by_tcp(at: SocketAddr) -> [u8; 5] {
    let mut client = TcpStream::connect(at).expect("the engine listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    client.write_all(b"hello").expect("the connection stands");
    let mut echo = [0; 5];
    client.read_exact(&mut echo).expect("an echo");
    echo
}

fn by_udp(at: SocketAddr) -> [u8; 5] {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    client.connect(at).expect("loopback is there");
    client.send(b"hello").expect("the engine listens");
    let mut echo = [0; 5];
    assert_eq!(client.recv(&mut echo).expect("an echo"), 5);
    echo
}

const PATIENCE: Duration = Duration::from_secs(10);
