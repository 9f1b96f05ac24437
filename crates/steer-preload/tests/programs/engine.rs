//! A small engine: what a program asks for is a server of ours on loopback, or fails as its port
//! says.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steer_core::engaged::Engaged;
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intake::Intake;
use steer_core::intent::{Intent, Relay, Scope};
use steer_core::keeper::NoKeeper;
use steer_core::object::ChildSetting;
use steer_core::steered::{Flow, Refusal, Steered};
use steer_core::steerer::Steerer;
use steer_kernel::host::libraries;
use steer_preload::Preload;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The method in force with an engine behind it; dropping it ends both.
pub(crate) struct Engine {
    engaged: Engaged,
    asked: Arc<Mutex<Vec<String>>>,
    go: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Whom the engine serves, and where.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    go: watch::Receiver<bool>,
}

/// Ports that fail, and how.
pub(crate) const FAILURES: [(u16, Refusal, i32); 6] = [
    (1, Refusal::Refused, 111),
    (2, Refusal::TimedOut, 110),
    (3, Refusal::HostUnreachable, 113),
    (4, Refusal::NetworkUnreachable, 101),
    (5, Refusal::Denied, 13),
    (6, Refusal::Reset, 104),
];

/// The port whose connections are not made before [`Engine::go`].
pub(crate) const LATER: u16 = 7;

impl Engine {
    pub(crate) async fn start(change: impl FnOnce(&mut Intent)) -> Self {
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        intent.relay = Some(Relay::Always);
        change(&mut intent);
        let mut host = Host::example();
        host.libraries = libraries().map(|dir| dir.into_os_string().into_string().unwrap());
        let plan = Preload.plan(&intent, &host).unwrap();
        let mut engaged = Engaged::engage(Box::new(NoKeeper), &intent, &plan, None).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (go, waiting) = watch::channel(false);
        let server = Server {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            go: waiting,
        };
        let asked = Arc::clone(&server.asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(listener));
        for bound in engaged.take_bound() {
            let intake = Preload.intake(&intent, bound).unwrap();
            tasks.spawn(serve(intake, server.clone()));
        }
        Self {
            engaged,
            asked,
            go,
            tasks,
        }
    }

    /// The destinations that were asked for so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until so many connections were asked for.
    pub(crate) async fn wait_for(&self, count: usize) {
        let reached = async {
            while self.asked().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, reached).await;
        waited.unwrap_or_else(|_| panic!("{:?}", self.asked()));
    }

    /// Makes the connections that wait.
    pub(crate) fn go(&self) {
        self.go.send_replace(true);
    }

    /// Ends as an engine that is killed: nothing answers any more.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    /// The library of this engine.
    pub(crate) fn library(&self) -> PathBuf {
        let library = self
            .engaged
            .child()
            .iter()
            .find_map(|setting| match setting {
                ChildSetting::Prepend { value, .. } => Some(value.into()),
                _ => None,
            });
        library.unwrap()
    }

    /// A program with the variables of the plan.
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
                ChildSetting::Env { name, value } | ChildSetting::Prepend { name, value } => {
                    command.env(name, value);
                }
                other => panic!("{other:?}"),
            }
        }
        command
    }

    /// What a Python program says, whose connections are made once it has said this line.
    pub(crate) async fn python_goes_on(&self, text: &str, line: &str) -> String {
        let mut command = self.command("python3");
        command.args(["-c", text]).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let talk = async {
            let mut said = Vec::new();
            while let Some(next) = lines.next_line().await.unwrap() {
                if next == line {
                    self.go();
                }
                said.push(next);
            }
            assert!(program.wait().await.unwrap().success(), "{said:?}");
            said.join("\n")
        };
        let talked = tokio::time::timeout(DEADLINE, talk).await;
        talked.expect("the program ends")
    }

    /// What a Python program says.
    pub(crate) async fn python(&self, text: &str) -> String {
        said(self.command("python3").args(["-c", text])).await
    }
}

/// What a program that succeeds says.
pub(crate) async fn said(command: &mut Command) -> String {
    let (status, out, error) = ended(command).await;
    assert_eq!(status, 0, "{out}\n{error}");
    out.trim_end().to_owned()
}

/// The status and the words of a program.
pub(crate) async fn ended(command: &mut Command) -> (i32, String, String) {
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.expect("the program ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

async fn serve(mut intake: Box<dyn Intake>, server: Server) {
    let mut flows = JoinSet::new();
    while let Some(steered) = intake.next().await {
        let line = steered.destination.to_string();
        assert!(steered.identity.pid.is_some(), "{steered:?}");
        server.asked.lock().unwrap().push(line);
        flows.spawn(relay(steered, server.clone()));
    }
}

async fn relay(steered: Steered, mut server: Server) {
    let Steered {
        mut flow,
        destination,
        mut answer,
        ..
    } = steered;
    let port = destination.port();
    if answer.can_hand_over() {
        let _ = answer.hand_over(&[server.address]).await;
        return;
    }
    if answer.dialling().is_err() {
        return;
    }
    if let Some((_, why, _)) = FAILURES.into_iter().find(|(failing, ..)| *failing == port) {
        return answer.failed(flow, why).await;
    }
    if port == LATER {
        let gone = answer.gone().unwrap();
        tokio::select! {
            _ = server.go.wait_for(|go| *go) => {}
            () = gone => {
                server.asked.lock().unwrap().push("gone".to_owned());
                return;
            }
        }
    }
    let mut upstream = TcpStream::connect(server.address).await.unwrap();
    if answer.connected(&mut flow).await.is_err() {
        return;
    }
    let Flow::Tcp(mut stream) = flow else {
        panic!("it is made by its answer");
    };
    socket2::SockRef::from(&stream).set_linger(None).unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
}

/// A web server that says hello, and an echo of everything that is no request.
async fn answer(listener: TcpListener) {
    let mut clients = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        clients.spawn(async move {
            let mut heard = vec![0; 4096];
            while let Ok(count @ 1..) = client.read(&mut heard).await {
                if heard.starts_with(b"GET ") {
                    let _ = client.write_all(HELLO).await;
                    return;
                }
                if client.write_all(&heard[..count]).await.is_err() {
                    return;
                }
            }
        });
    }
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
