//! Really trying a method: its rules in a network namespace of its own, and traffic through them.

use std::error::Error;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use steer_core::address::{Destination, Family, OrigDst, Protocol};
use steer_core::engaged::Engaged;
use steer_core::instance::Instance;
use steer_core::intake::Intake;
use steer_core::intent::{Intent, Loopback, OnFailure, Quic, Scope, Selector};
use steer_core::keeper::{Job, Keeper, KeeperError, Released};
use steer_core::steerer::{Evidence, Steerer};
use steer_kernel::drivers::Drivers;
use steer_kernel::netns;

use crate::listeners;

/// Sends one packet of each protocol to a port where nobody listens; it must come out of the
/// method's intake with that destination.
pub async fn really<S: Steerer + Clone + 'static>(steerer: &S, intent: &Intent) -> Evidence {
    let (steerer, backend, bypass) = (steerer.clone(), intent.backend, intent.bypass);
    let method = steerer.method();
    let tried = tokio::task::spawn_blocking(move || {
        // The namespace belongs to the thread and goes with it.
        std::thread::spawn(move || {
            netns::enter_private().map_err(|source| Outcome::NoNamespace(source.to_string()))?;
            let mut intent = Intent::new(
                Instance::new("probe").expect("a literal name is valid"),
                Scope {
                    of: Selector {
                        host: true,
                        ..Selector::default()
                    },
                    ..Scope::default()
                },
            );
            intent.backend = backend;
            intent.bypass = bypass;
            intent.on_failure = Some(OnFailure::Open);
            intent.traffic.loopback = Some(Loopback::Steer);
            intent.traffic.quic = Some(Quic::Leave);
            attempt(&steerer, &intent).map_err(|error| Outcome::Failed(told(&*error)))
        })
        .join()
        .unwrap_or_else(|_| Err(Outcome::NoNamespace("the try panicked".to_owned())))
    })
    .await;
    match tried {
        Ok(Ok(())) => Evidence::Works,
        Ok(Err(Outcome::Failed(why))) => Evidence::Fails {
            why,
            remedy: format!("run `steer plan -m {method}` to see what is missing"),
        },
        Ok(Err(Outcome::NoNamespace(why))) => Evidence::Unknown {
            why: format!("no network namespace could be made to try it in: {why}"),
        },
        Err(error) => Evidence::Unknown {
            why: error.to_string(),
        },
    }
}

enum Outcome {
    NoNamespace(String),
    Failed(String),
}

fn attempt(steerer: &dyn Steerer, intent: &Intent) -> Result<(), Box<dyn Error>> {
    let host = steer_kernel::host::observe();
    let plan = steerer.plan(intent, &host)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let keeper = Box::new(Direct {
        drivers: Drivers::new(steerer.drivers()),
        job: None,
    });
    let mut engaged = Engaged::engage(keeper, intent, &plan, None)?;
    for bound in engaged.take_bound() {
        let protocol = bound.listener.protocol;
        let mut intake = steerer.intake(intent, bound)?;
        for family in listeners::usable(&host) {
            let target = SocketAddr::new(family.loopback(), PORT);
            let _client = send(protocol, target)
                .map_err(|error| format!("{protocol} to {target} was not steered: {error}"))?;
            runtime.block_on(arrives(&mut *intake, protocol, family, target))?;
        }
    }
    engaged.release()?;
    Ok(())
}

/// What the intake tells of the packet that was sent.
async fn arrives(
    intake: &mut dyn Intake,
    protocol: Protocol,
    family: Family,
    target: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    let steered = tokio::time::timeout(PATIENCE, intake.next())
        .await
        .map_err(|_| format!("{protocol} over {family} did not arrive"))?
        .ok_or("the intake ended")?;
    match steered.destination {
        Destination::Addr(to) if to == OrigDst::new(target) => Ok(()),
        other => Err(format!("{protocol} to {target} was told as {other}").into()),
    }
}

/// Sends a packet, and keeps the socket that it came from.
fn send(protocol: Protocol, target: SocketAddr) -> std::io::Result<Box<dyn Send>> {
    Ok(match protocol {
        Protocol::Tcp => Box::new(TcpStream::connect_timeout(&target, PATIENCE)?),
        Protocol::Udp => {
            let socket = UdpSocket::bind(SocketAddr::new(
                listeners::anywhere(Family::of(target.ip())),
                0,
            ))?;
            socket.connect(target)?;
            socket.send(b"steer")?;
            Box::new(socket)
        }
    })
}

/// An error with all of its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A keeper of a namespace that nobody else sees: nothing of it needs to be remembered.
#[derive(Debug)]
struct Direct {
    drivers: Drivers,
    job: Option<Job>,
}

impl Keeper for Direct {
    fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
        self.drivers.set_all(job.instance(), &[], &job.objects)?;
        self.job = Some(job.clone());
        Ok(())
    }

    fn retire(&mut self) -> Result<(), KeeperError> {
        Ok(())
    }

    fn release(&mut self) -> Result<Released, KeeperError> {
        if let Some(job) = self.job.take() {
            self.drivers.set_all(job.instance(), &job.objects, &[])?;
        }
        Ok(Released::Clean)
    }
}

/// A port that the namespace has no use for.
const PORT: u16 = 80;

/// How long a packet may take within one machine.
const PATIENCE: Duration = Duration::from_secs(2);
