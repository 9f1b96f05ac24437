//! Datagrams that were steered: from a listener to flows.
//!
//! ```text
//! listener ─> Ingress ─> (client, destination) ─┬─ known ──> its flow
//!                                               └─ first ──> Ends::open ─> Steered
//! ```

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Arrivals, Datagrams, Ingress, Stragglers, Unqueued};
use crate::address::{ClientAddr, Destination, OrigDst};
use crate::intake::Intake;
use crate::method::Method;
use crate::policy::App;
use crate::steered::{Flow, Identity, ResetAnswer, Steered};
use async_trait::async_trait;

/// The two ends of a flow as its listener sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Who sent it.
    pub client: SocketAddr,
    /// Where the datagram came to: the original destination, where nothing rewrote it.
    pub arrived: SocketAddr,
}

/// What a method knows of flows.
pub trait Ends: std::fmt::Debug + Send {
    /// Where a flow was going and who sends it, as far as the method knows; none where it was
    /// addressed to the listener itself.
    ///
    /// # Errors
    /// It cannot be told.
    fn origin(&self, pair: Pair) -> io::Result<Option<(OrigDst, Identity)>>;

    /// A flow and the way in for what the listener gets of it.
    ///
    /// # Errors
    /// What it needs cannot be made.
    fn open(&mut self, pair: Pair) -> io::Result<(Box<dyn Datagrams>, Stragglers)>;
}

/// The intake of a listener for datagrams.
#[derive(Debug)]
pub struct DatagramIntake<E> {
    ingresses: Vec<Ingress>,
    /// The ingress to look at first.
    turn: usize,
    arrivals: Arrivals,
    /// The first of the arrivals that was not looked at.
    at: usize,
    flows: HashMap<Pair, Stragglers>,
    /// How many flows there may be before those that are over are sought and forgotten.
    tidy_at: usize,
    ends: E,
    via: Method,
    app: Option<App>,
    complaints: Complaints,
}

/// Datagrams that went nowhere; told now and then.
#[derive(Debug, Default)]
struct Complaints {
    lost: u64,
    told: Option<Instant>,
}

impl<E: Ends> DatagramIntake<E> {
    /// Takes over the sockets of a listener; call it within a runtime.
    ///
    /// # Errors
    /// A socket cannot be watched.
    pub fn new(
        sockets: Vec<UdpSocket>,
        ends: E,
        via: Method,
        app: Option<App>,
    ) -> io::Result<Self> {
        Ok(Self {
            ingresses: sockets
                .into_iter()
                .map(Ingress::new)
                .collect::<io::Result<_>>()?,
            turn: 0,
            arrivals: Arrivals::default(),
            at: 0,
            flows: HashMap::new(),
            tidy_at: TIDY_FIRST,
            ends,
            via,
            app,
            complaints: Complaints::default(),
        })
    }

    fn poll_arrivals(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let count = self.ingresses.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let received = self.ingresses[index].poll_receive(cx, &mut self.arrivals);
            if received.is_ready() {
                self.turn = (index + 1) % count;
                return received;
            }
        }
        Poll::Pending
    }

    /// Hands a datagram to its flow; the first of a flow gives one.
    fn look_at(&mut self, index: usize) -> Option<Steered> {
        self.tidy();
        let arrival = self.arrivals.get(index)?;
        let Some(arrived) = arrival.destination else {
            self.complaints.add("its destination cannot be told");
            return None;
        };
        let pair = Pair {
            client: arrival.client,
            arrived,
        };
        let pushed = self
            .flows
            .get(&pair)
            .map(|way_in| way_in.push(arrival.datagram));
        match pushed {
            Some(Ok(())) => return None,
            Some(Err(Unqueued::Full)) => {
                self.complaints.add("its flow does not keep up");
                return None;
            }
            Some(Err(Unqueued::Over)) => drop(self.flows.remove(&pair)),
            None => {}
        }
        if self.flows.len() >= FLOWS_MOST {
            self.complaints.add("too many flows are open");
            return None;
        }
        let (to, identity) = match self.ends.origin(pair) {
            Ok(Some(origin)) => origin,
            Ok(None) => {
                self.complaints
                    .add("it was addressed to the listener itself");
                return None;
            }
            Err(error) => {
                tracing::debug!(client = %pair.client, %error, "no original destination");
                self.complaints.add("its destination cannot be told");
                return None;
            }
        };
        let (flow, way_in) = match self.ends.open(pair) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(client = %pair.client, %to, %error, "no flow could be made");
                self.complaints.add("no socket could be made for its flow");
                return None;
            }
        };
        if way_in.push(arrival.datagram).is_err() {
            self.complaints.add("too much waits for the flows");
            return None;
        }
        self.flows.insert(pair, way_in);
        Some(Steered {
            flow: Flow::Udp(flow),
            client: ClientAddr(pair.client),
            destination: Destination::Addr(to),
            identity,
            via: self.via,
            upstream: None,
            app: self.app,
            inside: None,
            answer: Box::new(ResetAnswer),
        })
    }

    /// Forgets flows that are over, seldom enough that each costs little.
    fn tidy(&mut self) {
        if self.flows.len() >= self.tidy_at {
            self.flows.retain(|_, way_in| !way_in.is_over());
            self.tidy_at = (self.flows.len() * 2).clamp(TIDY_FIRST, FLOWS_MOST);
        }
    }
}

#[async_trait]
impl<E: Ends> Intake for DatagramIntake<E> {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            while self.at < self.arrivals.len() {
                let index = self.at;
                self.at += 1;
                if let Some(steered) = self.look_at(index) {
                    return Some(steered);
                }
            }
            self.arrivals.clear();
            self.at = 0;
            if let Err(error) = poll_fn(|cx| self.poll_arrivals(cx)).await {
                tracing::debug!(%error, "a listener for datagrams failed");
                // What is wrong with the socket may stay so for a while.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Complaints {
    fn add(&mut self, why: &'static str) {
        self.lost += 1;
        let now = Instant::now();
        if self.told.is_none_or(|last| now - last >= TELL_EVERY) {
            self.told = Some(now);
            tracing::warn!(why, lost = self.lost, "a steered datagram was lost");
        }
    }
}

/// Flows of one listener at once; datagrams that would begin another one are lost.
const FLOWS_MOST: usize = 16_384;

/// How many flows there are before it is worth looking for those that are over.
const TIDY_FIRST: usize = 256;

/// The least time between two lines about lost datagrams.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long a failing socket is left alone.
const PAUSE: Duration = Duration::from_millis(50);
