//! The control listener: questions of the library come in, connections of the program go out.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use nix::unistd::geteuid;
use steer_core::address::{ClientAddr, Destination, Family};
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, Steered};
use steer_kernel::host::libraries;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address;
use crate::answer::ConnectAnswer;
use crate::call::Call;
use crate::engine::Engine;
use crate::library::{Library, sweep};
use crate::line::{Heard, Line};
use crate::names::Full;
use crate::wire::{Ask, Reply};

/// Connections that the library asks about.
#[derive(Debug)]
pub(crate) struct ControlIntake {
    steered_rx: mpsc::Receiver<Steered>,
    /// Answers questions also while nobody asks for the next connection.
    _serving: JoinSet<()>,
    /// There as long as somebody answers.
    _library: Library,
}

impl ControlIntake {
    /// Unpacks the library, and answers its questions.
    pub(crate) fn open(intent: &Intent, bound: Bound) -> io::Result<Self> {
        let dir = libraries().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no directory can hold the library")
        })?;
        Self::open_in(intent, bound, &dir)
    }

    pub(crate) fn open_in(intent: &Intent, bound: Bound, dir: &Path) -> io::Result<Self> {
        let Bound {
            sockets, inside, ..
        } = bound;
        let listener = sockets.control()?;
        let address = listener.local_addr()?;
        let name = std::os::linux::net::SocketAddrExt::as_abstract_name(&address);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        // What engines left behind that were killed.
        if let Err(error) = sweep() {
            tracing::debug!(%error, "libraries of dead engines could not be looked for");
        }
        let library = Library::unpack(dir, &name)?;
        let (steered_tx, steered_rx) = mpsc::channel(WAITING);
        let engine = Arc::new(Engine::open(intent, inside, steered_tx)?);
        let listener = UnixListener::from_std(listener)?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, engine));
        Ok(Self {
            steered_rx,
            _serving: serving,
            _library: library,
        })
    }
}

#[async_trait]
impl Intake for ControlIntake {
    async fn next(&mut self) -> Option<Steered> {
        self.steered_rx.recv().await
    }
}

async fn serve(listener: UnixListener, engine: Arc<Engine>) {
    let mut questions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match admitted(&stream) {
                    Some(peer) => {
                        questions.spawn(answer(Line::new(stream), peer, Arc::clone(&engine)));
                    }
                    None => tracing::warn!(
                        help = "start steer as the user that the command becomes",
                        "a process of another user asked, and got no answer"
                    ),
                },
                Err(error) => {
                    tracing::warn!(%error, help = "raise `ulimit -n`", "a question was lost");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = questions.join_next() => {}
        }
    }
}

/// Who asks, if it is of the user that steers, or root.
fn admitted(stream: &UnixStream) -> Option<UCred> {
    let peer = stream.peer_cred().ok()?;
    (peer.uid() == geteuid().as_raw() || peer.uid() == 0).then_some(peer)
}

async fn answer(line: Line, peer: UCred, engine: Arc<Engine>) {
    match timeout(PATIENCE, line.hear()).await {
        Ok(Ok(Some(heard))) => answer_to(line, heard, &peer, &engine).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a question could not be read"),
        Err(_) => tracing::debug!("a question took too long"),
    }
}

async fn answer_to(line: Line, heard: Heard, peer: &UCred, engine: &Arc<Engine>) {
    let Heard {
        request,
        name,
        socket,
    } = heard;
    let reply = match (request.ask, socket) {
        (Ask::Connect, Some(socket)) => {
            return connect(line, &request.address, socket, peer, engine).await;
        }
        (Ask::Peer, Some(socket)) => match engine.takeover.peer(&socket) {
            Some(peer) => Reply::Address(address::to_wire(peer)),
            None => Reply::Errno(0),
        },
        (Ask::Failure, Some(socket)) => {
            let errno = engine.failure(&socket).await;
            Reply::Errno(errno.map_or(0, |errno| errno as i32))
        }
        (Ask::Forget, Some(socket)) => {
            engine.forget(&socket);
            Reply::Errno(0)
        }
        (Ask::Resolve, _) => {
            let family = match request.address.version {
                4 => Some(Family::V4),
                6 => Some(Family::V6),
                _ => None,
            };
            let names = engine.names.as_ref();
            match names.map_or(Ok(None), |names| names.stand_in(&name, family)) {
                Ok(Some(ip)) => Reply::Address(address::to_wire((ip, 0).into())),
                Ok(None) => Reply::Errno(0),
                Err(Full) => Reply::Errno(Errno::EAGAIN as i32),
            }
        }
        _ => Reply::Errno(Errno::EPROTO as i32),
    };
    // A program that is gone needs no answer.
    let _ = line.say(reply);
}

async fn connect(
    line: Line,
    wanted: &crate::wire::Address,
    socket: OwnedFd,
    peer: &UCred,
    engine: &Arc<Engine>,
) {
    let refuse = |line: Line, errno: Errno| {
        let _ = line.say(Reply::Errno(errno as i32));
    };
    let Some(wanted) = address::from_wire(wanted) else {
        return refuse(line, Errno::EAFNOSUPPORT);
    };
    if let Some(earlier) = engine.earlier(&socket).await {
        return refuse(line, earlier.err().unwrap_or(Errno::from_raw(0)));
    }
    let destination = match &engine.names {
        Some(names) => match names.meant(wanted) {
            Some(meant) => meant,
            // An address that stands for no name leads nowhere.
            None => return refuse(line, Errno::EHOSTUNREACH),
        },
        None => Destination::addr(wanted),
    };
    if let Destination::Addr(to) = destination
        && engine.scope.leaves(to.addr())
    {
        drop(socket);
        return leave(line, wanted).await;
    }
    let (call, outcome_rx) = match Call::begin(engine, line, socket, wanted) {
        Ok(begun) => begun,
        Err((line, errno)) => return refuse(line, errno),
    };
    if !call.is_open() {
        return;
    }
    let identity = identity(peer, engine.identify);
    let pid = identity.pid;
    let steered = Steered {
        flow: Flow::Unmade,
        client: ClientAddr(call.client()),
        destination,
        identity,
        via: Method::Preload,
        upstream: None,
        app: None,
        inside: None,
        answer: Box::new(ConnectAnswer::new(Arc::clone(&call), outcome_rx)),
    };
    // It goes on when the engine takes no more: what it took has still to end.
    tokio::spawn(async move { call.attend(pid).await });
    // Whoever does not take it refuses it.
    let _ = engine.steered_tx.send(steered).await;
}

/// Has the program connect as if there were no engine.
async fn leave(line: Line, to: std::net::SocketAddr) {
    if line.say(Reply::Own(address::to_wire(to))).is_ok()
        && let Ok(Some(heard)) = line.hear().await
    {
        let _ = line.say(Reply::Errno(heard.request.errno));
    }
}

fn identity(peer: &UCred, with_file: bool) -> Identity {
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let exe = |pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    Identity {
        pid,
        uid: Some(peer.uid()),
        exe: pid.filter(|_| with_file).and_then(exe),
        ..Identity::default()
    }
}

/// How many connections wait for the engine before questions do.
const WAITING: usize = 256;

/// How long a question may take to arrive, which is written at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long accepting rests where no descriptor is left.
const PAUSE: Duration = Duration::from_millis(20);
