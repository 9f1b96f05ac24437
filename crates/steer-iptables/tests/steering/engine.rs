//! An engine for tests: it says what was brought to it, and answers.

use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use lab::{Client, Family, Host, Snapshot, UdpClient, eventually};
use socket2::SockRef;
use steer_core::address::{Destination, Protocol};
use steer_core::datagram::Batch;
use steer_core::engaged::Engaged;
use steer_core::instance::Instance;
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::{Backend, Intent, OnFailure, Scope, Selector};
use steer_core::policy::App;
use steer_core::steered::{Flow, Refusal, Steered};
use steer_core::steerer::Steerer;
use steer_kernel::drivers::Drivers;
use steer_kernel::journal::RunDir;
use steer_kernel::keeper::LocalKeeper;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// Every packet filter.
pub(crate) const BACKENDS: [Backend; 3] =
    [Backend::Nft, Backend::Iptables, Backend::IptablesLegacy];

/// A plan in force with an engine behind it; both end with the value.
pub(crate) struct Engine {
    came: Arc<std::sync::Mutex<Vec<Came>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _runs: TempDir,
}

/// What the engine was told of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) dns: bool,
    pub(crate) uid: Option<u32>,
}

/// The intent for everything of a selector.
pub(crate) fn of(selector: Selector) -> Intent {
    let scope = Scope {
        of: selector,
        ..Scope::default()
    };
    let mut intent = Intent::new(Instance::new("test").unwrap(), scope);
    intent.on_failure = Some(OnFailure::Closed);
    intent
}

/// The intent for a whole host.
pub(crate) fn whole_host() -> Intent {
    of(Selector {
        host: true,
        ..Selector::default()
    })
}

impl Engine {
    /// Puts the method's plan in force inside the host.
    pub(crate) fn start(host: &Host, method: &'static dyn Steerer, intent: &Intent) -> Self {
        Self::start_with(host, method, intent, |_| {})
    }

    /// As [`Self::start`], with the listeners closed as soon as the plan is in force.
    pub(crate) fn start_deaf(host: &Host, method: &'static dyn Steerer, intent: &Intent) -> Self {
        let close = |bound: Bound| {
            if let Sockets::Tcp(listeners) = &bound.sockets {
                for listener in listeners {
                    // A program that another test starts just then has a copy until it executes.
                    SockRef::from(listener).shutdown(Shutdown::Both).unwrap();
                }
            }
        };
        Self::run(host, method, intent, |_| {}, close)
    }

    /// As [`Self::start`], with facts that the host does not tell by itself.
    pub(crate) fn start_with(
        host: &Host,
        method: &'static dyn Steerer,
        intent: &Intent,
        facts: impl FnOnce(&mut steer_core::host::Host) + Send,
    ) -> Self {
        let seen = Arc::<std::sync::Mutex<Vec<Came>>>::default();
        let (came, intent_of_intakes) = (Arc::clone(&seen), intent.clone());
        let take = move |bound| {
            let intake = method.intake(&intent_of_intakes, bound).unwrap();
            tokio::spawn(serve(intake, Arc::clone(&seen)));
        };
        let mut engine = Self::run(host, method, intent, facts, take);
        engine.came = came;
        engine
    }

    fn run(
        host: &Host,
        method: &'static dyn Steerer,
        intent: &Intent,
        facts: impl FnOnce(&mut steer_core::host::Host) + Send,
        take: impl Fn(Bound) + Send + 'static,
    ) -> Self {
        let runs = tempfile::tempdir().unwrap();
        let mut observed = host.enter(steer_kernel::host::observe);
        facts(&mut observed);
        let plan = method.plan(intent, &observed).unwrap();
        let intent = intent.clone();
        let (ready_tx, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (path, inside) = (runs.path().to_owned(), host.clone());
        let thread = std::thread::spawn(move || {
            inside.enter(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                let _within = runtime.enter();
                let keeper = LocalKeeper::new(Drivers::default(), RunDir::at(path));
                let mut engaged =
                    Engaged::engage(Box::new(keeper), &intent, &plan, None).expect("engages");
                engaged.take_bound().into_iter().for_each(take);
                ready_tx.send(()).unwrap();
                let _ = runtime.block_on(stopped);
                engaged.release().unwrap();
            });
        });
        ready.recv().expect("the engine runs");
        Self {
            came: Arc::default(),
            stop: Some(stop),
            thread: Some(thread),
            _runs: runs,
        }
    }

    /// What came, in its order.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// Waits for a flow from this client, and gives it.
    pub(crate) fn wait_for(&self, client: SocketAddr) -> Came {
        eventually("a flow at the engine", || {
            self.came().into_iter().find(|came| came.client == client)
        })
    }

    /// A connection from the host is answered by the engine, which knows both of its ends.
    pub(crate) fn takes_tcp(&self, from: &Host, to: SocketAddr) -> Came {
        let mut client = from.connect(to).unwrap();
        client.send(b"hello").unwrap();
        assert_eq!(
            client.receive(12).as_deref(),
            Ok(&b"engine:hello"[..]),
            "{to}"
        );
        self.told(Protocol::Tcp, client.local(), to)
    }

    /// A datagram from the host is answered by the engine, from the address that it was sent to.
    pub(crate) fn takes_udp(&self, from: &Host, to: SocketAddr) -> Came {
        let client = from.udp_to(to).unwrap();
        client.send(b"hello").unwrap();
        let (answer, sender) = client.receive().unwrap();
        assert_eq!((&answer[..], sender), (&b"engine:hello"[..], to));
        self.told(Protocol::Udp, client.local(), to)
    }

    fn told(&self, protocol: Protocol, client: SocketAddr, to: SocketAddr) -> Came {
        let came = self.wait_for(client);
        assert_eq!((came.protocol, came.to), (protocol, to));
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

/// A connection or datagram that no engine answers.
pub(crate) fn goes_direct(from: &Host, to: SocketAddr) {
    let mut client: Client = from.connect(to).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]), "{to}");
    let client: UdpClient = from.udp_to(to).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive().unwrap(), (b"hello".to_vec(), to));
}

/// The state of a host without what others change, and the tables of legacy iptables that nobody
/// can remove.
pub(crate) fn quiet(state: Snapshot) -> Snapshot {
    state.of_host_only().without_empty_legacy_tables()
}

/// An address far behind a host, to which it has a route.
pub(crate) fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => "203.0.113.77".parse().unwrap(),
        Family::V6 => "2001:db8:77::77".parse().unwrap(),
    }
}

async fn serve(mut intake: Box<dyn Intake>, came: Arc<std::sync::Mutex<Vec<Came>>>) {
    while let Some(steered) = intake.next().await {
        let Destination::Addr(to) = steered.destination else {
            panic!("a name from a method that knows none");
        };
        came.lock().unwrap().push(Came {
            protocol: steered.flow.protocol(),
            client: steered.client.0,
            to: to.addr(),
            dns: steered.app == Some(App::Dns),
            uid: steered.identity.uid,
        });
        tokio::spawn(answer(steered));
    }
}

/// Answers with `engine:` and what came; `refuse` and `deny` are refused.
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
                let why = match batch.iter().next() {
                    Some(b"refuse") => Some(Refusal::Refused),
                    Some(b"deny") => Some(Refusal::Denied),
                    _ => None,
                };
                if let Some(why) = why {
                    answer.failed(Flow::Udp(datagrams), why).await;
                    return;
                }
                let mut said = Batch::default();
                for datagram in batch.iter() {
                    said.push(&[b"engine:", datagram].concat());
                }
                datagrams.send(&said).unwrap();
            }
        }
        other => panic!("not of these methods: {other:?}"),
    }
}
