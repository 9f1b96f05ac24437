//! An engine for tests: it says what was brought to it, and answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use lab::{Agent, Cgroup, Host, eventually};
use steer_core::address::{Destination, Protocol};
use steer_core::datagram::Batch;
use steer_core::engaged::Engaged;
use steer_core::instance::Instance;
use steer_core::intake::Intake;
use steer_core::intent::{Intent, Loopback, OnFailure, Scope, Selector};
use steer_core::steered::{Flow, Identity, Refusal, Steered};
use steer_core::steerer::Steerer;
use steer_ebpf::Ebpf;
use steer_kernel::drivers::Drivers;
use steer_kernel::journal::RunDir;
use steer_kernel::keeper::LocalKeeper;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// A plan in force with an engine behind it; both end with the value.
pub(crate) struct Engine {
    came: Arc<Mutex<Vec<Came>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _runs: TempDir,
}

/// What the engine was told of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) inside: bool,
    /// Whether its datagrams come by a socket of their own.
    pub(crate) has_socket: bool,
}

/// The intent for everything that programs of a cgroup send, loopback among it.
pub(crate) fn of(cgroup: &Cgroup) -> Intent {
    // The end of the cgroup's name tells process and test.
    let unique = cgroup.name().rsplitn(3, '-').take(2).collect::<Vec<_>>();
    let name = format!("t{}", unique.join("_"));
    let scope = Scope {
        of: Selector {
            cgroup: vec![cgroup.name().to_owned()],
            ..Selector::default()
        },
        ..Scope::default()
    };
    let mut intent = Intent::new(Instance::new(&name).unwrap(), scope);
    intent.on_failure = Some(OnFailure::Closed);
    intent.traffic.loopback = Some(Loopback::Steer);
    intent.identify = true;
    intent
}

/// A process of the host that acts in a cgroup.
pub(crate) fn agent(host: &Host, cgroup: &Cgroup) -> Agent {
    let [program, args @ ..] = &Agent::command_line("agent")[..] else {
        panic!("a command line has a program");
    };
    Agent::start(host.program(program).args(args).cgroup(cgroup))
}

impl Engine {
    /// Puts a plan in force from inside the host.
    pub(crate) fn start(host: &Host, intent: &Intent) -> Self {
        let runs = tempfile::tempdir().unwrap();
        let observed = host.enter(|| steer_kernel::host::observe_for(intent));
        let plan = Ebpf.plan(intent, &observed).unwrap();
        let intent = intent.clone();
        let came = Arc::<Mutex<Vec<Came>>>::default();
        let (ready_tx, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (path, inside, seen) = (runs.path().to_owned(), host.clone(), Arc::clone(&came));
        let thread = std::thread::spawn(move || {
            inside.enter(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                let _within = runtime.enter();
                let drivers = Drivers::new(Ebpf.drivers());
                let keeper = LocalKeeper::new(drivers, RunDir::at(path));
                let mut engaged =
                    Engaged::engage(Box::new(keeper), &intent, &plan, None).expect("engages");
                for bound in engaged.take_bound() {
                    let intake = Ebpf.intake(&intent, bound).unwrap();
                    runtime.spawn(serve(intake, Arc::clone(&seen)));
                }
                ready_tx.send(()).unwrap();
                let _ = runtime.block_on(stopped);
                engaged.release().unwrap();
            });
        });
        ready.recv().expect("the engine runs");
        Self {
            came,
            stop: Some(stop),
            thread: Some(thread),
            _runs: runs,
        }
    }

    /// What came, in its order.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// Waits for a flow to this destination, and gives it.
    pub(crate) fn wait_for(&self, to: SocketAddr) -> Came {
        eventually("a flow at the engine", || {
            self.came().into_iter().find(|came| came.to == to)
        })
    }

    /// A connection is answered by the engine, and its program sees the address that it asked for.
    pub(crate) fn takes_tcp(&self, from: &Agent, to: SocketAddr) -> Came {
        let mut client = from.connect(to).unwrap();
        client.send(b"hello").unwrap();
        let answer = client.receive(12);
        assert_eq!(answer.as_deref(), Ok(&b"engine:hello"[..]), "{to}");
        let came = self.wait_for(to);
        assert_eq!(came.protocol, Protocol::Tcp);
        assert_eq!(came.client, client.local());
        came
    }

    /// A datagram is answered by the engine, from the address that it was sent to.
    pub(crate) fn takes_udp(&self, from: &Agent, to: SocketAddr) -> Came {
        let client = from.udp_client_to(to).unwrap();
        client.send(b"hello").unwrap();
        let (answer, sender) = client.receive().unwrap();
        assert_eq!((&answer[..], sender), (&b"engine:hello"[..], to));
        let came = self.wait_for(to);
        assert_eq!(came.protocol, Protocol::Udp);
        assert!(came.has_socket, "{came:?}");
        came
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().expect("joined once").join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "the engine failed"
        );
    }
}

async fn serve(mut intake: Box<dyn Intake>, came: Arc<Mutex<Vec<Came>>>) {
    while let Some(steered) = intake.next().await {
        let Destination::Addr(to) = steered.destination else {
            panic!("a name from a method that knows none");
        };
        came.lock().unwrap().push(Came {
            protocol: steered.flow.protocol(),
            client: steered.client.0,
            to: to.addr(),
            identity: steered.identity.clone(),
            inside: steered.inside.is_some(),
            has_socket: match &steered.flow {
                Flow::Udp(datagrams) => format!("{datagrams:?}").starts_with("SocketDatagrams"),
                _ => true,
            },
        });
        tokio::spawn(answer(steered));
    }
}

/// Answers with `engine:` and what came; `refuse` is refused.
async fn answer(steered: Steered) {
    let Steered { flow, answer, .. } = steered;
    match flow {
        Flow::Tcp(mut stream) => {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                let said = [b"engine:", &bytes[..count]].concat();
                if stream.write_all(&said).await.is_err() {
                    return;
                }
            }
        }
        Flow::Udp(mut datagrams) => {
            let mut batch = Batch::default();
            loop {
                batch.clear();
                let received = std::future::poll_fn(|cx| datagrams.poll_receive(cx, &mut batch));
                if received.await.is_err() {
                    return;
                }
                if batch.iter().next() == Some(b"refuse") {
                    answer.failed(Flow::Udp(datagrams), Refusal::Refused).await;
                    return;
                }
                let mut said = Batch::default();
                for datagram in batch.iter() {
                    said.push(&[b"engine:", datagram].concat());
                }
                datagrams.send(&said).unwrap();
            }
        }
        other => panic!("not of this method: {other:?}"),
    }
}
