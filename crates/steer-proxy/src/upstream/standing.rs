//! How an upstream stands: which of its endpoints answer, and how many connections it has.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steer_core::address::Destination;
use steer_core::policy::{Health, Upstream};
use tokio::time::Instant;

use crate::error::UpstreamError;

/// How an upstream stands. Policies that follow each other share that of an upstream that stayed as
/// it was.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What it stands for.
    upstream: Upstream,
    endpoints: Vec<Endpoint>,
    live: AtomicUsize,
    carried: AtomicU64,
    refused: AtomicU64,
}

/// One place where an upstream is.
#[derive(Debug)]
struct Endpoint {
    address: Destination,
    count: Mutex<Count>,
    failures: AtomicU64,
}

/// What the last attempts told.
#[derive(Debug)]
struct Count {
    up: bool,
    failed: u32,
    passed: u32,
    /// Until when nobody tries it, where nothing but connections tells.
    rests: Option<Instant>,
}

/// How an upstream stands, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamState {
    /// Its name.
    pub name: String,
    /// Its endpoints in their order.
    pub endpoints: Vec<EndpointState>,
    /// The connections that it carries.
    pub live: usize,
    /// The connections that it has carried since it was first configured as it is.
    pub carried: u64,
    /// Connections that were refused because it had as many as it may have.
    pub refused: u64,
}

/// How one place of an upstream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Where it is.
    pub address: Destination,
    /// Whether it is taken for alive.
    pub up: bool,
    /// Checks and connections that failed there.
    pub failures: u64,
}

/// One of the connections that an upstream may have; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Permit {
    standing: Arc<Standing>,
    /// That of the upstream through which it is reached.
    pub(super) next: Option<Box<Self>>,
}

impl Standing {
    /// That of an upstream of which nothing is known: its endpoints are taken for alive.
    pub(crate) fn new(upstream: Upstream) -> Self {
        let endpoints = upstream.places().map(|address| Endpoint {
            address: address.clone(),
            count: Mutex::new(Count {
                up: true,
                failed: 0,
                passed: 0,
                rests: None,
            }),
            failures: AtomicU64::new(0),
        });
        Self {
            endpoints: endpoints.collect(),
            upstream,
            live: AtomicUsize::new(0),
            carried: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether it stands for an upstream as it is written.
    pub(crate) fn is_of(&self, upstream: &Upstream) -> bool {
        self.upstream == *upstream
    }

    /// The upstream.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Where an endpoint is.
    pub(crate) fn address(&self, endpoint: usize) -> &Destination {
        &self.endpoints[endpoint].address
    }

    /// How many endpoints there are.
    pub(crate) fn places(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoints to try, in order: those that are alive, and where none is, all of them.
    pub(crate) fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let all = 0..self.endpoints.len();
        let alive: Vec<_> = all
            .clone()
            .filter(|index| self.endpoints[*index].is_up(now))
            .collect();
        if alive.is_empty() {
            all.collect()
        } else {
            alive
        }
    }

    /// Takes one of the connections that it may have.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Box<Permit>, UpstreamError> {
        let most = self.upstream.limits.connections.unwrap_or(usize::MAX);
        let entered = self
            .live
            .fetch_update(Relaxed, Relaxed, |live| (live < most).then(|| live + 1));
        if entered.is_err() {
            self.refused.fetch_add(1, Relaxed);
            return Err(UpstreamError::Busy(self.upstream.name.clone()));
        }
        self.carried.fetch_add(1, Relaxed);
        Ok(Box::new(Permit {
            standing: Arc::clone(self),
            next: None,
        }))
    }

    /// Notes that an endpoint works.
    pub(crate) fn passed(&self, endpoint: usize) {
        let changed = self.endpoints[endpoint].passed(self.upstream.health);
        if changed {
            let Self { upstream, .. } = self;
            let address = self.address(endpoint);
            tracing::info!(upstream = upstream.name, %address, "the upstream is back");
        }
    }

    /// Notes that an endpoint does not work.
    pub(crate) fn failed(&self, endpoint: usize, error: &UpstreamError) {
        let changed = self.endpoints[endpoint].failed(self.upstream.health);
        if !changed {
            return;
        }
        let name = &self.upstream.name;
        let address = self.address(endpoint);
        let error: &dyn std::error::Error = error;
        let now = Instant::now();
        if self.endpoints.iter().any(|endpoint| endpoint.is_up(now)) {
            tracing::info!(
                upstream = name,
                %address,
                error,
                "an endpoint of the upstream is down: the next one is taken"
            );
        } else {
            tracing::warn!(
                upstream = name,
                %address,
                error,
                help = "check the proxy; connections that rules send there fail until it is back",
                "the upstream is down"
            );
        }
    }

    /// How it stands.
    pub(crate) fn state(&self) -> UpstreamState {
        let now = Instant::now();
        let endpoints = self.endpoints.iter().map(|endpoint| EndpointState {
            address: endpoint.address.clone(),
            up: endpoint.is_up(now),
            failures: endpoint.failures.load(Relaxed),
        });
        UpstreamState {
            name: self.upstream.name.clone(),
            endpoints: endpoints.collect(),
            live: self.live.load(Relaxed),
            carried: self.carried.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

impl Endpoint {
    fn count(&self) -> MutexGuard<'_, Count> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_up(&self, now: Instant) -> bool {
        let count = self.count();
        count.up || count.rests.is_some_and(|until| until <= now)
    }

    /// Whether that changed what it is taken for.
    fn passed(&self, health: Option<Health>) -> bool {
        let mut count = self.count();
        count.failed = 0;
        if count.up {
            return false;
        }
        count.passed += 1;
        count.up = count.passed >= health.map_or(1, |health| health.rise);
        if count.up {
            count.rests = None;
        }
        count.up
    }

    /// Whether that changed what it is taken for.
    fn failed(&self, health: Option<Health>) -> bool {
        self.failures.fetch_add(1, Relaxed);
        let mut count = self.count();
        count.passed = 0;
        count.failed = count.failed.saturating_add(1);
        if health.is_none() {
            count.rests = Some(Instant::now() + REST);
        }
        let falls = count.failed >= health.map_or(1, |health| health.fall);
        let changed = count.up && falls;
        count.up &= !falls;
        changed
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.standing.live.fetch_sub(1, Relaxed);
    }
}

/// How long an endpoint that failed is left alone where nothing checks it.
const REST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use steer_core::policy::UpstreamKind;

    use super::*;

    fn standing(health: Option<Health>, connections: Option<usize>) -> Arc<Standing> {
        let mut upstream =
            Upstream::new("corp", UpstreamKind::Socks5, "192.0.2.1:1".parse().unwrap());
        upstream.endpoints = vec!["192.0.2.2:1".parse().unwrap()];
        upstream.health = health;
        upstream.limits.connections = connections;
        Arc::new(Standing::new(upstream))
    }

    fn refused() -> UpstreamError {
        UpstreamError::Broken(std::io::ErrorKind::ConnectionRefused.into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_fails_rests_and_is_then_tried_again() {
        let standing = standing(None, None);
        standing.failed(0, &refused());
        assert_eq!(standing.order(), [1]);
        standing.failed(1, &refused());
        assert_eq!(standing.order(), [0, 1], "with none alive, all are tried");
        tokio::time::advance(REST).await;
        assert_eq!(standing.order(), [0, 1]);
        standing.passed(0);
        standing.failed(1, &refused());
        assert_eq!(standing.order(), [0]);
        assert_eq!(standing.state().endpoints[1].failures, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_take_as_many_answers_as_are_written() {
        let health = Health {
            fall: 2,
            rise: 3,
            ..Health::default()
        };
        let standing = standing(Some(health), None);
        standing.failed(0, &refused());
        standing.passed(0);
        standing.failed(0, &refused());
        assert_eq!(standing.order(), [0, 1], "two in a row are needed");
        standing.failed(0, &refused());
        assert_eq!(standing.order(), [1]);
        tokio::time::advance(REST).await;
        standing.passed(0);
        standing.passed(0);
        assert_eq!(standing.order(), [1], "three in a row are needed");
        standing.passed(0);
        assert_eq!(standing.order(), [0, 1]);
    }

    #[test]
    fn no_more_connections_are_taken_than_are_allowed() {
        let standing = standing(None, Some(1));
        let permit = standing.enter().unwrap();
        let error = standing.enter().unwrap_err();
        assert!(matches!(error, UpstreamError::Busy(name) if name == "corp"));
        drop(permit);
        let _permit = standing.enter().unwrap();
        let state = standing.state();
        assert_eq!((state.live, state.carried, state.refused), (1, 2, 1));
    }
}
