//! A small engine: it dials what an intake delivers and copies bytes, names below `.test` going
//! to loopback.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steer_core::address::{Destination, Family};
use steer_core::datagram::{Batch, Datagrams};
use steer_core::engaged::Engaged;
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intake::Intake;
use steer_core::intent::{Intent, Scope};
use steer_core::keeper::NoKeeper;
use steer_core::object::ChildSetting;
use steer_core::policy::{Credentials, Secret};
use steer_core::steered::{Answer, Flow, Refusal, Steered};
use steer_core::steerer::Steerer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::Command;
use tokio::task::JoinSet;

/// A method in force with an engine behind it; dropping it ends both.
pub(crate) struct Engine {
    engaged: Engaged,
    asked: Arc<Mutex<Vec<String>>>,
    clients: Arc<Mutex<Vec<SocketAddr>>>,
    _intakes: JoinSet<()>,
}

/// The method, its plan made from the intent, as `run` and `up` put it in force.
pub(crate) fn start(steerer: &dyn Steerer, intent: &Intent) -> Engine {
    let plan = steerer.plan(intent, &Host::example()).unwrap();
    let mut engaged = Engaged::engage(Box::new(NoKeeper), intent, &plan, None).unwrap();
    let (asked, clients) = (Arc::default(), Arc::default());
    let mut intakes = JoinSet::new();
    for bound in engaged.take_bound() {
        let intake = steerer.intake(intent, bound).unwrap();
        intakes.spawn(serve(intake, Arc::clone(&asked), Arc::clone(&clients)));
    }
    Engine {
        engaged,
        asked,
        clients,
        _intakes: intakes,
    }
}

/// `explicit` on a port that the kernel chooses.
pub(crate) fn explicit() -> Engine {
    start(&steer_env::Explicit, &explicit_intent())
}

pub(crate) fn explicit_intent() -> Intent {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
    intent.listen.explicit = Some("127.0.0.1:0".parse().unwrap());
    intent
}

pub(crate) fn ann() -> Credentials {
    Credentials {
        username: "ann".to_owned(),
        password: Secret::Literal("p@ss:/%é".to_owned()),
    }
}

impl Engine {
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener("explicit")
    }

    pub(crate) fn listener(&self, id: &str) -> SocketAddr {
        let ports = &self.engaged.bindings().ports;
        let (_, port) = ports.iter().find(|(name, _)| name.0 == id).unwrap();
        SocketAddr::from(([127, 0, 0, 1], *port))
    }

    /// What was asked for so far, each `destination via upstream`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Who asked so far.
    pub(crate) fn clients(&self) -> Vec<SocketAddr> {
        self.clients.lock().unwrap().clone()
    }

    /// A program with the variables of the plan and no others that name proxies.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().kill_on_drop(true);
        for name in ["PATH", "HOME", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for setting in self.engaged.child() {
            match setting {
                ChildSetting::Env { name, value } | ChildSetting::Append { name, value } => {
                    command.env(name, value);
                }
                _ => {}
            }
        }
        command
    }
}

/// `env` in a network namespace of this thread's own, in which [`ALONE`] is this host and nothing
/// else can be reached: a program that goes round the port gets nowhere.
pub(crate) fn alone(exclude: &[&str]) -> Engine {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    for words in ["link set lo up", "address add 192.0.2.1/32 dev lo"] {
        let done = std::process::Command::new("ip")
            .args(words.split(' '))
            .status();
        assert!(done.unwrap().success(), "ip {words}");
    }
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
    intent.traffic.exclude.domains = exclude.iter().map(|name| name.parse().unwrap()).collect();
    start(&steer_env::Env, &intent)
}

/// An address of the namespace that is not loopback's.
pub(crate) const ALONE: [u8; 4] = [192, 0, 2, 1];

/// What a program printed, with its exit status; it has 30 seconds.
pub(crate) async fn output(command: &mut Command) -> (i32, String) {
    let output = tokio::time::timeout(Duration::from_secs(30), command.output())
        .await
        .expect("the program ends")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    (output.status.code().unwrap(), text)
}

async fn serve(
    mut intake: Box<dyn Intake>,
    asked: Arc<Mutex<Vec<String>>>,
    clients: Arc<Mutex<Vec<SocketAddr>>>,
) {
    let mut flows = JoinSet::new();
    while let Some(steered) = intake.next().await {
        let line = format!(
            "{} {} {}",
            steered.destination,
            steered.via,
            steered.upstream.as_deref().unwrap_or("-")
        );
        asked.lock().unwrap().push(line);
        clients.lock().unwrap().push(steered.client.0);
        flows.spawn(relay(steered));
    }
}

async fn relay(steered: Steered) {
    let Steered {
        mut flow,
        destination,
        mut answer,
        ..
    } = steered;
    if let Flow::Udp(datagrams) = flow {
        return exchange(datagrams, &destination, answer).await;
    }
    match dial(&destination).await {
        Ok(mut upstream) => {
            answer.connected(&mut flow).await.unwrap();
            let copied = match &mut flow {
                Flow::Tcp(stream) => {
                    socket2::SockRef::from(&*stream).set_linger(None).unwrap();
                    copy(stream, &mut upstream).await
                }
                Flow::Stream(stream) => copy(stream, &mut upstream).await,
                _ => unreachable!("the port delivers no other flow"),
            };
            if copied.is_err() {
                steer_core::steered::reset_on_close(&upstream).unwrap();
            }
        }
        Err(why) => answer.failed(flow, why).await,
    }
}

/// Carries datagrams both ways, one socket a flow.
async fn exchange(
    mut client: Box<dyn Datagrams>,
    destination: &Destination,
    answer: Box<dyn Answer>,
) {
    let to = match resolve(destination) {
        Ok(to) => to,
        Err(why) => return answer.failed(Flow::Udp(client), why).await,
    };
    let family = Family::of(to.ip());
    let upstream = UdpSocket::bind((family.loopback(), 0)).await.unwrap();
    upstream.connect(to).await.unwrap();
    let (mut batch, mut back) = (Batch::default(), vec![0; 1 << 16]);
    loop {
        tokio::select! {
            received = poll_fn(|cx| client.poll_receive(cx, &mut batch)) => {
                if received.is_err() {
                    return;
                }
                for datagram in batch.iter() {
                    upstream.send(datagram).await.ok();
                }
                batch.clear();
            }
            received = upstream.recv(&mut back) => {
                let Ok(length) = received else { continue };
                let mut answer = Batch::default();
                answer.push(&back[..length]);
                if client.send(&answer).is_err() {
                    return;
                }
            }
        }
    }
}

async fn copy<S>(client: &mut S, upstream: &mut TcpStream) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let copied = tokio::io::copy_bidirectional(client, upstream).await;
    upstream.shutdown().await.ok();
    copied.map(|_| ())
}

/// Names tell how the dial shall end: `denied.test`, `slow.test`, `nowhere.test`, and all others
/// below `.test` are on loopback.
fn resolve(destination: &Destination) -> Result<SocketAddr, Refusal> {
    match destination {
        Destination::Addr(address) => Ok(address.addr()),
        Destination::Name { host, port } => match host.as_str() {
            "denied.test" => Err(Refusal::Denied),
            "slow.test" => Err(Refusal::TimedOut),
            "busy.test" => Err(Refusal::Busy),
            name if name.ends_with(".test") && name != "nowhere.test" => {
                Ok(SocketAddr::from(([127, 0, 0, 1], *port)))
            }
            _ => Err(Refusal::NoSuchHost),
        },
    }
}

async fn dial(destination: &Destination) -> Result<TcpStream, Refusal> {
    TcpStream::connect(resolve(destination)?)
        .await
        .map_err(|error| Refusal::of(&error))
}
