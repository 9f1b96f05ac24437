//! Metrics: what the engine counts, and its form for Prometheus.
//!
//! ```text
//! connections, requests ─ at their end ─> Metrics ─┐
//! engine ─ asked ─────────────────────────> Levels ─┴─ render ─> Server (/metrics)
//! ```
//!
//! Labels are words of the configuration and of this program, never what a client says: nobody can
//! make series by asking for hosts.
mod families;
mod histogram;
mod requests;
mod server;
mod text;

use std::collections::HashMap;
use std::ops::Add;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use steer_core::address::Protocol;
use steer_core::method::Method;

use crate::record::Outcome;
use crate::upstream::{EndpointState, UpstreamState};
use histogram::Histogram;
use requests::Requests;
use text::Page;

pub use families::{FAMILIES, Family, Kind};
pub use server::{Server, ServerError, Status};

/// What an engine has counted. Counting is a few atomic additions at the end of a connection.
///
/// ```
/// use steer_proxy::metrics::{Levels, Metrics};
///
/// let page = Metrics::default().render(&Levels::default());
/// assert!(page.contains("# TYPE steer_connections_total counter"));
/// ```
#[derive(Debug)]
pub struct Metrics {
    live: [AtomicI64; PROTOCOLS],
    /// By upstream.
    ways: RwLock<HashMap<String, Arc<Ways>>>,
    bytes: [AtomicU64; 2],
    connect: Histogram,
    requests: Requests,
    request: Histogram,
    refused: [AtomicU64; Reason::ALL.len()],
    reloads: [AtomicU64; 2],
}

/// What an engine is asked for when somebody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Records that could not be written.
    pub lost_records: u64,
    /// Flows of datagrams that were refused because there were too many.
    pub refused_flows: u64,
    /// How the upstreams stand.
    pub upstreams: Vec<UpstreamState>,
}

impl Add for Levels {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.lost_records += other.lost_records;
        self.refused_flows += other.refused_flows;
        self.upstreams.extend(other.upstreams);
        self
    }
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The method that brought it.
    pub method: Method,
    /// The transport.
    pub protocol: Protocol,
    /// `direct`, `none`, or the name of an upstream of the configuration.
    pub upstream: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes that the program sent; none where nobody could count.
    pub sent: Option<u64>,
    /// Bytes that the program received.
    pub received: Option<u64>,
}

/// Why the engine would not take a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule rejects it.
    Rule,
    /// A rule asks who the program is, and the method cannot tell.
    Stranger,
    /// Its address was made up, and stands for no name.
    Address,
    /// It would have come back to the engine.
    Loop,
    /// There are too many connections.
    Full,
    /// There are too many flows of datagrams.
    Flows,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Rule,
        Self::Stranger,
        Self::Address,
        Self::Loop,
        Self::Full,
        Self::Flows,
    ];

    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Stranger => "stranger",
            Self::Address => "address",
            Self::Loop => "loop",
            Self::Full => "full",
            Self::Flows => "flows",
        }
    }
}

/// What became of a configuration that was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reloaded {
    /// It is in force.
    Applied,
    /// What was in force before is.
    Refused,
}

impl Reloaded {
    const ALL: [Self; 2] = [Self::Applied, Self::Refused];

    /// The word in metrics and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
        }
    }
}

const PROTOCOLS: usize = Protocol::ALL.len();
const METHODS: usize = Method::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();

/// Connections by one upstream.
type Ways = [[[AtomicU64; OUTCOMES]; PROTOCOLS]; METHODS];

/// Upstreams that are told apart; those of later reloads are `other`.
const MOST_UPSTREAMS: usize = 1000;

/// The upstream of those that are not told apart.
const OTHER: &str = "other";

impl Default for Metrics {
    fn default() -> Self {
        Self {
            live: Default::default(),
            ways: RwLock::default(),
            bytes: Default::default(),
            connect: Histogram::new(&CONNECT),
            requests: Requests::default(),
            request: Histogram::new(&REQUEST),
            refused: Default::default(),
            reloads: Default::default(),
        }
    }
}

/// Bounds for connecting, in milliseconds: from a neighbour to a deadline.
const CONNECT: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

/// Bounds for requests, in milliseconds: up to a stream that lasts for minutes.
const REQUEST: [u64; 14] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 60_000, 600_000,
];

impl Metrics {
    /// A connection has come.
    pub fn began(&self, protocol: Protocol) {
        self.live[place(protocol, &Protocol::ALL)].fetch_add(1, Relaxed);
    }

    /// A connection that had come has ended.
    pub fn ended(&self, ended: &Ended<'_>) {
        let Ended {
            method,
            protocol,
            upstream,
            outcome,
            sent,
            received,
        } = *ended;
        let protocol = place(protocol, &Protocol::ALL);
        self.live[protocol].fetch_sub(1, Relaxed);
        let method = place(method, &Method::ALL);
        let outcome = place(outcome, &Outcome::ALL);
        self.ways(upstream)[method][protocol][outcome].fetch_add(1, Relaxed);
        for (total, bytes) in self.bytes.iter().zip([sent, received]) {
            total.fetch_add(bytes.unwrap_or(0), Relaxed);
        }
    }

    /// A way was opened for a connection.
    pub fn connected(&self, took: Duration) {
        self.connect.observe(took);
    }

    /// A connection was refused.
    pub fn refused(&self, why: Reason) {
        self.refused[place(why, &Reason::ALL)].fetch_add(1, Relaxed);
    }

    /// A request has ended. `rule` and `upstream` are names of the configuration.
    pub fn request(&self, status: Option<u16>, rule: Option<&str>, upstream: &str, took: Duration) {
        self.requests.count(status, rule, upstream);
        self.request.observe(took);
    }

    /// A configuration was read again.
    pub fn reloaded(&self, how: Reloaded) {
        self.reloads[place(how, &Reloaded::ALL)].fetch_add(1, Relaxed);
    }

    /// The page in the text format 0.0.4 of Prometheus.
    pub fn render(&self, levels: &Levels) -> String {
        let mut page = Page::default();
        page.family(&families::BUILD_INFO);
        page.sample(&families::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        self.render_connections(&mut page);
        page.histogram(&families::CONNECT_SECONDS, &self.connect);
        page.family(&families::REQUESTS);
        for (labels, count) in self.requests.read() {
            let [class, upstream, rule] = &labels;
            page.sample(&families::REQUESTS, &[class, upstream, rule], count);
        }
        page.histogram(&families::REQUEST_SECONDS, &self.request);
        render_upstreams(&levels.upstreams, &mut page);
        page.family(&families::REFUSED);
        for (why, count) in Reason::ALL.iter().zip(&self.refused) {
            let counted = count.load(Relaxed);
            let count = match why {
                Reason::Flows => counted + levels.refused_flows,
                _ => counted,
            };
            page.sample(&families::REFUSED, &[why.name()], count);
        }
        page.family(&families::RECORDS_LOST);
        page.sample(&families::RECORDS_LOST, &[], levels.lost_records);
        page.family(&families::RELOADS);
        for (how, count) in Reloaded::ALL.iter().zip(&self.reloads) {
            page.sample(&families::RELOADS, &[how.name()], count.load(Relaxed));
        }
        page.finish()
    }

    fn render_connections(&self, page: &mut Page) {
        page.family(&families::CONNECTIONS);
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<&String> = ways.keys().collect();
        names.sort_unstable();
        for name in names {
            for (method, by_protocol) in Method::ALL.iter().zip(ways[name].iter()) {
                for (protocol, by_outcome) in Protocol::ALL.iter().zip(by_protocol) {
                    for (outcome, count) in Outcome::ALL.iter().zip(by_outcome) {
                        let count = count.load(Relaxed);
                        // Most of what could be never is.
                        if count > 0 {
                            let (method, protocol) = (method.name(), word(*protocol));
                            let labels = [method, protocol, name.as_str(), outcome.name()];
                            page.sample(&families::CONNECTIONS, &labels, count);
                        }
                    }
                }
            }
        }
        drop(ways);
        page.family(&families::LIVE);
        for (protocol, live) in Protocol::ALL.iter().zip(&self.live) {
            let live = u64::try_from(live.load(Relaxed)).unwrap_or(0);
            page.sample(&families::LIVE, &[word(*protocol)], live);
        }
        page.family(&families::BYTES);
        for (direction, bytes) in ["sent", "received"].iter().zip(&self.bytes) {
            page.sample(&families::BYTES, &[direction], bytes.load(Relaxed));
        }
    }

    fn ways(&self, upstream: &str) -> Arc<Ways> {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ways.get(upstream) {
            return Arc::clone(known);
        }
        let name = match ways.len() < MOST_UPSTREAMS {
            true => upstream,
            false => OTHER,
        };
        drop(ways);
        let mut ways = self.ways.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ways.entry(name.to_owned()).or_default())
    }
}

fn render_upstreams(upstreams: &[UpstreamState], page: &mut Page) {
    page.family(&families::UPSTREAM_LIVE);
    for upstream in upstreams {
        let live = u64::try_from(upstream.live).unwrap_or(u64::MAX);
        page.sample(&families::UPSTREAM_LIVE, &[&upstream.name], live);
    }
    page.family(&families::UPSTREAM_REFUSED);
    for upstream in upstreams {
        page.sample(
            &families::UPSTREAM_REFUSED,
            &[&upstream.name],
            upstream.refused,
        );
    }
    page.family(&families::UPSTREAM_UP);
    for (name, endpoint) in endpoints(upstreams) {
        let labels = [name, &endpoint.address.to_string()];
        page.sample(&families::UPSTREAM_UP, &labels, u64::from(endpoint.up));
    }
    page.family(&families::UPSTREAM_FAILURES);
    for (name, endpoint) in endpoints(upstreams) {
        let labels = [name, &endpoint.address.to_string()];
        page.sample(&families::UPSTREAM_FAILURES, &labels, endpoint.failures);
    }
}

/// Every endpoint with the name of its upstream.
fn endpoints(upstreams: &[UpstreamState]) -> impl Iterator<Item = (&str, &EndpointState)> {
    upstreams.iter().flat_map(|upstream| {
        let endpoints = upstream.endpoints.iter();
        endpoints.map(|endpoint| (upstream.name.as_str(), endpoint))
    })
}

const fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Where a value stands in the list of all of its kind.
fn place<T: PartialEq + Copy>(value: T, all: &[T]) -> usize {
    let place = all.iter().position(|one| *one == value);
    place.expect("the list has every value")
}

#[cfg(test)]
mod tests;
