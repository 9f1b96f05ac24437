//! The engine: what becomes of every connection, whichever method brought it.
//!
//! ```text
//! Intake ─> serve ─┬─ live:       how many, and how to end them
//!                  ├─ connection: loops ─> rules (sniff) ─┬─> dial ─> answer ─> relay ─> record
//!                  │                                      └─> inspect, intercept ─> http: requests
//!                  ├─ udp:        the same for flows of datagrams
//!                  └─ dns:        the same for each query of a DNS conversation
//! ```
mod account;
mod build;
mod change;
mod connection;
mod course;
mod dns;
mod edits;
mod entry;
mod flood;
mod handled;
mod http;
mod inspect;
mod intercept;
mod lanes;
mod late;
mod limits;
mod live;
pub(crate) mod loops;
mod opening;
mod rules;
mod udp;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use steer_core::address::Destination;
use steer_core::datagram::Budget;
use steer_core::intake::Intake;
use steer_core::names::{Conversation, Follower, Names};
use steer_core::policy::App;
use steer_core::steered::{Flow, Refusal, Steered};
use steer_tls::Distrust;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::events::Events;
use crate::handler::Handler;
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::upstream::direct::Dialler;

pub use build::{EngineBuilder, EngineError};
pub use change::Change;
pub use limits::{Limits, UdpLimits};

use course::{Checks, Course};
use entry::Entry;
use flood::Flood;
use lanes::Lanes;
use live::Live;

/// A running engine, cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steer_proxy::engine::EngineError> {
/// use std::time::Duration;
/// use steer_core::policy::Policy;
/// use steer_proxy::engine::Engine;
///
/// let engine = Engine::builder(Policy::default()).build()?;
/// // for each intake of a method: tokio::spawn(engine.clone().serve(intake));
/// engine.drain(Duration::from_secs(10)).await;
/// assert_eq!(engine.live(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What the connections of an engine have in common.
#[derive(Debug)]
struct Shared {
    /// What whoever comes goes by.
    course: RwLock<Arc<Course>>,
    /// Of the proxies that it names.
    checks: Checks,
    limits: Limits,
    dialler: Arc<Dialler>,
    recorder: RwLock<Recorder>,
    metrics: Arc<Metrics>,
    events: Events,
    /// Records that recorders could not write which others have replaced.
    lost: AtomicU64,
    names: Option<Arc<dyn Names>>,
    conversation: Arc<dyn Conversation>,
    dns_resolver: Option<SocketAddr>,
    follower: Option<Arc<dyn Follower>>,
    /// Those who look at connections and requests.
    handlers: Vec<Arc<dyn Handler>>,
    /// What sessions of HTTP let clients and servers do.
    http: steer_http::Limits,
    /// The clients that did not believe our certificates.
    distrust: Distrust,
    /// Connections.
    live: Live,
    /// Flows of datagrams.
    flows: Live,
    lanes: Lanes,
    flood: Flood,
    /// DNS conversations over UDP: they come and go quicker than flows, and may not take their
    /// places.
    talks: Live,
    /// Memory for what clients send before their way is open.
    held: Budget,
    /// Connections that came in since the start.
    accepted: AtomicU64,
    /// Dials that failed for want of descriptors.
    starved: AtomicU64,
    stop: watch::Sender<bool>,
    /// How many intakes are served.
    serving: watch::Sender<usize>,
    /// Tells the flows, which have no end of their own.
    stopping: Arc<Notify>,
    stops: AtomicBool,
}

impl Shared {
    /// Whether the engine stops.
    fn stops(&self) -> bool {
        self.stops.load(Relaxed)
    }

    /// The resolver that is asked instead of the one that was addressed; a listener of our own
    /// that was addressed can ask none but the host's.
    fn dns_resolver(&self, addressed: &Destination, dialler: &Dialler) -> Option<SocketAddr> {
        self.dns_resolver.or_else(|| match addressed {
            Destination::Addr(to) if dialler.leads_back(to.addr()) => {
                let mut others = crate::upstream::nameservers().into_iter();
                others.find(|server| !dialler.leads_back(*server))
            }
            _ => None,
        })
    }
}

/// An intake that is served, counted for as long as it is.
#[derive(Debug)]
struct Serving<'a>(&'a watch::Sender<usize>);

impl<'a> Serving<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// How draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that the deadline cut off with a reset.
    pub aborted: usize,
}

impl Engine {
    /// Takes connections from an intake until it has no more, or the engine drains.
    ///
    /// Connections go on after it returns; [`Engine::drain`] ends them.
    pub async fn serve(self, mut intake: Box<dyn Intake>) {
        let shared = &self.shared;
        let serving = Serving::new(&shared.serving);
        shared.checks.begin(&shared.course(), &shared.dialler);
        let mut stop = shared.stop.subscribe();
        let mut starved = shared.starved.load(Relaxed);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrivals = 0_u32;
        loop {
            let next = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                next = intake.next() => Some(next),
                _ = beat.tick(), if arrivals > 0 => {
                    arrivals = 0;
                    continue;
                }
            };
            let Some(next) = next else {
                self.take_waiting(&mut intake).await;
                drop(serving);
                if intake.stays() {
                    self.empty().await;
                }
                return;
            };
            let Some(steered) = next else { return };
            arrivals = arrivals.saturating_add(1);
            shared.accepted.fetch_add(1, Relaxed);
            self.take(steered);
            let starvations = shared.starved.load(Relaxed);
            if starvations != starved {
                // Descriptors come back when connections end; accepting more would fail them too.
                tracing::warn!(
                    help = "raise the limit of open files (ulimit -n)",
                    "out of descriptors: accepting pauses"
                );
                tokio::time::sleep(STARVED_PAUSE).await;
                starved = shared.starved.load(Relaxed);
            }
        }
    }

    /// Takes what had come before the stop and waits to be accepted: its clients believe that they
    /// are connected. Bounded, because clients that know of a listener can come on and on.
    async fn take_waiting(&self, intake: &mut Box<dyn Intake>) {
        let take = async {
            while let Ok(Some(steered)) = timeout(LAST_LOOK, intake.next()).await {
                self.shared.accepted.fetch_add(1, Relaxed);
                self.take(steered);
            }
        };
        let _ = timeout(LAST_LOOKS, take).await;
    }

    fn take(&self, steered: Steered) {
        let shared = &self.shared;
        let is_dns = steered.app == Some(App::Dns);
        if let Flow::Udp(_) = steered.flow {
            let (live, most) = if is_dns {
                (&shared.talks, shared.limits.udp.conversations)
            } else {
                (&shared.flows, shared.limits.udp.flows)
            };
            match live.enter(most) {
                Some(place) if is_dns => place.spawn(dns::run(Arc::clone(shared), steered)),
                Some(place) => {
                    let flow = udp::run(Arc::clone(shared), steered);
                    place.spawn_on(&shared.lanes.pick(), flow);
                }
                None => shared.flood.refuse(steered, most),
            }
            return;
        }
        match shared.live.enter(shared.limits.connections) {
            Some(place) if is_dns => place.spawn(dns::run(Arc::clone(shared), steered)),
            Some(place) => place.spawn(connection::run(Arc::clone(shared), steered)),
            None => {
                let entry = Entry::new(Arc::clone(shared), &steered);
                // Outside the limit, so it does no more than answer, within a deadline.
                tokio::spawn(connection::refuse(entry, steered, Refusal::Busy));
                tracing::debug!(
                    limit = shared.limits.connections,
                    "a connection was refused: the engine is full"
                );
            }
        }
    }

    /// Waits until nothing lives.
    async fn empty(&self) {
        let Shared {
            live, flows, talks, ..
        } = &*self.shared;
        tokio::join!(live.empty(), flows.empty(), talks.empty());
    }

    /// Stops taking connections, lets those that live end by themselves until `deadline` has
    /// passed, and resets the rest. Their records are written when it returns.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let Shared {
            stop,
            stopping,
            stops,
            live,
            flows,
            talks,
            serving,
            ..
        } = &*self.shared;
        stops.store(true, Relaxed);
        stop.send_replace(true);
        stopping.notify_waiters();
        let empty = async {
            // Whoever serves takes what had come before: none is overlooked.
            let _ = serving.subscribe().wait_for(|count| *count == 0).await;
            self.empty().await;
        };
        if timeout(deadline, empty).await.is_ok() {
            return Drained { aborted: 0 };
        }
        let aborted = live.abort() + flows.abort() + talks.abort();
        live.empty().await;
        flows.empty().await;
        talks.empty().await;
        Drained { aborted }
    }

    /// Connections and flows that live.
    pub fn live(&self) -> usize {
        let Shared {
            live, flows, talks, ..
        } = &*self.shared;
        live.count() + flows.count() + talks.count()
    }

    /// Flows and conversations that were refused because there were too many.
    pub fn refused_flows(&self) -> u64 {
        self.shared.flood.refused()
    }

    /// Connections and flows that came in since the start.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Relaxed)
    }

    /// Records that could not be written.
    pub fn lost_records(&self) -> u64 {
        self.shared.lost.load(Relaxed) + self.shared.recorder().lost()
    }
}

/// The period of a timer that does nothing but be the runtime's earliest one. Arming the earliest
/// timer costs tokio a write to its eventfd and a turn of its poll, which every dial would pay. It
/// rests while nothing arrives, because a poll without a timer is cheaper too.
const BEAT: Duration = Duration::from_millis(200);

/// How long an intake is asked for what came before the stop. When a timer of tokio fires, the
/// kernel has just been asked what is ready, so that the shortest is long enough.
const LAST_LOOK: Duration = Duration::from_millis(2);

/// How long all of that may take.
const LAST_LOOKS: Duration = Duration::from_millis(500);

/// How long accepting pauses when a dial found no descriptor.
const STARVED_PAUSE: Duration = Duration::from_millis(50);
