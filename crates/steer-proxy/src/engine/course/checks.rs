//! Whether proxies are alive, asked again and again.
use std::sync::{Arc, Mutex, PoisonError};

use steer_core::policy::Health;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::Engine;
use super::{Course, Proxy};
use crate::upstream::direct::{Dialler, Terms};
use crate::upstream::proxy::Call;
use crate::upstream::standing::UpstreamState;

/// The checks of the policy in force; dropping them ends them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Checks(Mutex<Option<JoinSet<()>>>);

impl Checks {
    /// Begins the checks, unless they have begun.
    pub(in crate::engine) fn begin(&self, course: &Course, dialler: &Arc<Dialler>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_none() {
            *tasks = Some(checks(course, dialler));
        }
    }

    /// Ends the checks and begins those of another policy, where any had begun.
    pub(in crate::engine) fn follow(&self, course: &Course, dialler: &Arc<Dialler>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who changes the policy need not be in the runtime; whoever serves next begins them then.
        let runs = tokio::runtime::Handle::try_current().is_ok();
        if tasks.take().is_some() && runs {
            *tasks = Some(checks(course, dialler));
        }
    }
}

/// A task for each endpoint that is to be checked.
fn checks(course: &Course, dialler: &Arc<Dialler>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for proxy in &course.proxies {
        let Some(health) = proxy.standing.upstream().health else {
            continue;
        };
        for endpoint in 0..proxy.standing.places() {
            tasks.spawn(check(proxy.clone(), endpoint, health, Arc::clone(dialler)));
        }
    }
    tasks
}

async fn check(proxy: Proxy, endpoint: usize, health: Health, dialler: Arc<Dialler>) {
    let mut beat = interval(health.interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let call = Call {
            dialler: &dialler,
            header: None,
            terms: Terms {
                deadline: Instant::now() + health.timeout,
                source: None,
            },
        };
        match proxy.check(endpoint, call).await {
            Ok(()) => proxy.standing.passed(endpoint),
            Err(error) => proxy.standing.failed(endpoint, &error),
        }
    }
}

impl Engine {
    /// How the upstreams of the policy in force stand.
    pub fn upstreams(&self) -> Vec<UpstreamState> {
        let course = self.shared.course();
        let states = course.proxies.iter().map(|proxy| proxy.standing.state());
        states.collect()
    }
}
