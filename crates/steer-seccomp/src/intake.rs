//! Connects of the commands that came under the supervisor.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::{Intent, Relay};
use steer_core::plan::Netns;
use steer_core::steered::Steered;
use steer_kernel::takeover::Takeover;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control;
use crate::office::Office;
use crate::orphans::Orphans;
use crate::supervisor::Supervisor;

/// The intake of a control listener.
///
/// # Errors
/// There is no loopback to join sockets on.
pub(crate) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    let Bound {
        netns,
        sockets,
        inside,
        ..
    } = bound;
    let listener = UnixListener::from_std(sockets.control()?)?;
    let takeover = match inside {
        Some(inside) => Takeover::open_inside(inside)?,
        None => Takeover::open()?,
    };
    let (steered_tx, steered) = mpsc::channel(MOST_WAITING);
    let office = Office {
        takeover,
        traffic: intent.traffic.clone(),
        // In namespaces of its own a program gets nowhere by itself.
        hands_over: intent.relays() == Relay::Needed && netns == Netns::Here,
        identify: intent.identify,
        steered_tx,
        runtime: Handle::current(),
        waiting: Mutex::new(HashMap::new()),
        untold: Mutex::new(Vec::new()),
        choices: Mutex::new(HashMap::new()),
        holding: Mutex::new(()),
        hidden: AtomicU64::new(0),
    };
    Ok(Box::new(SeccompIntake {
        listener,
        office: Arc::new(office),
        steered,
        admitting: JoinSet::new(),
        supervisors: Vec::new(),
        orphans: Arc::new(Orphans::adopt()),
    }))
}

/// Commands come by the listener, their connects by the channel.
#[derive(Debug)]
struct SeccompIntake {
    listener: UnixListener,
    office: Arc<Office>,
    steered: mpsc::Receiver<Steered>,
    /// Commands that have not said everything yet.
    admitting: JoinSet<io::Result<Supervisor>>,
    supervisors: Vec<Supervisor>,
    orphans: Arc<Orphans>,
}

#[async_trait]
impl Intake for SeccompIntake {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            tokio::select! {
                biased;
                Some(steered) = self.steered.recv() => return Some(steered),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a command could not be heard");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(admitted) = self.admitting.join_next() => {
                    self.admitted(admitted.map_err(io::Error::from).flatten());
                }
            }
        }
    }
}

impl SeccompIntake {
    /// By a task of its own: whoever connects and says nothing keeps nobody else.
    fn admit(&mut self, stream: UnixStream) {
        let office = Arc::clone(&self.office);
        let orphans = Arc::clone(&self.orphans);
        self.admitting.spawn(supervise(stream, office, orphans));
    }

    fn admitted(&mut self, admitted: io::Result<Supervisor>) {
        self.supervisors.retain(|earlier| !earlier.is_over());
        match admitted {
            Ok(supervisor) => self.supervisors.push(supervisor),
            Err(error) => tracing::warn!(%error, "a command could not be supervised"),
        }
    }
}

/// Supervises the command that calls, which starts when it is told so.
async fn supervise(
    mut stream: UnixStream,
    office: Arc<Office>,
    orphans: Arc<Orphans>,
) -> io::Result<Supervisor> {
    let (descriptor, process) = control::admit(&mut stream).await?;
    orphans.spare(process);
    if !control::is_line(&descriptor) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let supervisor = Supervisor::start(descriptor, office)?;
    control::go(&mut stream).await?;
    Ok(supervisor)
}

/// Connects that wait for the engine.
const MOST_WAITING: usize = 4096;

/// After a failure of the listener.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
