//! Really trying a method: its rules in a network namespace of its own, and traffic through them.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use steer_core::address::{Destination, Family, OrigDst, Protocol};
use steer_core::driver::{Change, Driver};
use steer_core::engaged::Engaged;
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intake::{Intake, Shared};
use steer_core::intent::{Intent, Loopback, OnFailure, Quic, Scope, Selector};
use steer_core::keeper::{Job, Keeper, KeeperError, Released};
use steer_core::object::{Device, Layer, Listener, Object};
use steer_core::plan::Netns;
use steer_core::steerer::{Evidence, Steerer};
use steer_kernel::device::DeviceDriver;
use steer_kernel::drivers::Drivers;
use steer_kernel::netns;

use crate::listeners;

/// Where the packets of a try go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// To the loopback addresses; each protocol has a listener of its own.
    Loopback,
    /// To addresses of nobody on a link of the namespace, for a method that loopback does not come by.
    /// One listener has every protocol.
    Elsewhere,
}

/// Sends one packet of each protocol to a port where nobody listens; it must come out of the
/// method's intake with that destination.
pub async fn really<S: Steerer + Clone + 'static>(
    steerer: &S,
    intent: &Intent,
    towards: Towards,
) -> Evidence {
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
            intent.traffic.loopback = towards.loopback();
            intent.traffic.quic = Some(Quic::Leave);
            attempt(&steerer, &intent, towards).map_err(|error| Outcome::Failed(told(&*error)))
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

impl Towards {
    /// What is asked for loopback traffic.
    const fn loopback(self) -> Option<Loopback> {
        match self {
            Self::Loopback => Some(Loopback::Steer),
            Self::Elsewhere => None,
        }
    }

    /// The protocols that come to a listener.
    fn protocols(self, listener: &Listener) -> Vec<Protocol> {
        match self {
            Self::Loopback => vec![listener.protocol],
            Self::Elsewhere => Protocol::ALL.to_vec(),
        }
    }

    /// An address of nobody.
    fn target(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::Loopback, _) => family.loopback(),
            (Self::Elsewhere, Family::V4) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            (Self::Elsewhere, Family::V6) => {
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))
            }
        }
    }

    /// Makes the link that the addresses are on; it goes with what is given back.
    fn link(self, host: &Host) -> Result<Option<DeviceDriver>, Box<dyn Error>> {
        if self == Self::Loopback {
            return Ok(None);
        }
        let addresses = [
            (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 24),
            (
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
                64,
            ),
        ];
        let usable = listeners::usable(host);
        let uplink = Object::Device(Device {
            name: "uplink".to_owned(),
            layer: Layer::Ip,
            mtu: 1500,
            addresses: addresses
                .into_iter()
                .filter(|(ip, _)| usable.contains(&Family::of(*ip)))
                .collect(),
            queues: 1,
            bridge: None,
            forwards: false,
        });
        let mut driver = DeviceDriver::new();
        driver.set(&Change {
            instance: &Instance::new("uplink")?,
            netns: &Netns::Here,
            from: &[],
            to: &[uplink],
        })?;
        Ok(Some(driver))
    }
}

fn attempt(steerer: &dyn Steerer, intent: &Intent, towards: Towards) -> Result<(), Box<dyn Error>> {
    let host = steer_kernel::host::observe();
    let _link = towards.link(&host)?;
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
        let protocols = towards.protocols(&bound.listener);
        let mut intake = steerer.intake(intent, bound)?;
        for family in listeners::usable(&host) {
            let target = SocketAddr::new(towards.target(family), PORT);
            for protocol in protocols.iter().copied() {
                let _client = send(protocol, target)
                    .map_err(|error| format!("{protocol} to {target} was not steered: {error}"))?;
                runtime.block_on(arrives(&mut *intake, protocol, family, target))?;
            }
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

    fn shared(&self) -> std::io::Result<Vec<Shared>> {
        self.drivers.shared()
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
