//! Names that are written out, looked up by ourselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use steer::core::address::{HostName, HostPattern};
use steer::core::names::{Follower, Learned};
use steer::core::symbol::NameSet;
use steer::proxy::upstream::Resolver;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Learner;

impl Learner {
    /// Looks up the names that are written out, all at once and for a bounded time; returns those
    /// that are to be steered and of which the rules know no address.
    ///
    /// A pattern with a star stands for names that nobody can list: those are learned from answers
    /// alone.
    pub(crate) async fn begin(&self, resolver: &Arc<dyn Resolver>) -> Vec<HostName> {
        let mut found = BTreeSet::new();
        // What is not found by then is looked up again.
        let _ = timeout(LOOKUP, self.round(resolver, &mut found)).await;
        let mut missing = self.written(&[NameSet::Included]);
        missing.retain(|name| !found.contains(name));
        missing.into_iter().collect()
    }

    /// Looks the names up again and again; never returns.
    pub(crate) async fn refresh(self, resolver: Arc<dyn Resolver>) {
        let written = self.written(&[NameSet::Included, NameSet::Excluded]);
        let mut found = BTreeSet::new();
        loop {
            let pause = match found.len() == written.len() {
                true => AGAIN,
                false => SOONER,
            };
            sleep(pause).await;
            found.clear();
            self.round(&resolver, &mut found).await;
        }
    }

    /// Looks each name up once; `found` are those of which the rules know the addresses.
    async fn round(&self, resolver: &Arc<dyn Resolver>, found: &mut BTreeSet<HostName>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut lookups = JoinSet::new();
        for name in self.written(&[NameSet::Included, NameSet::Excluded]) {
            let (learner, resolver) = (self.clone(), Arc::clone(resolver));
            let places = Arc::clone(&places);
            lookups.spawn(async move {
                let _place = places.acquire().await.ok()?;
                learner.look_up(resolver.as_ref(), name).await
            });
        }
        while let Some(done) = lookups.join_next().await {
            // One that panicked has found nothing.
            found.extend(done.ok().flatten());
        }
    }

    /// The name, where the rules know its addresses.
    async fn look_up(&self, resolver: &dyn Resolver, name: HostName) -> Option<HostName> {
        let addresses = match timeout(LOOKUP, resolver.resolve(&name, 0)).await {
            Ok(Ok(found)) => found.iter().map(|to| to.ip().to_canonical()).collect(),
            Ok(Err(error)) => {
                tracing::debug!(%name, %error, "a followed name could not be looked up");
                Vec::new()
            }
            Err(_) => {
                tracing::debug!(%name, "a followed name could not be looked up in time");
                Vec::new()
            }
        };
        if addresses.is_empty() {
            return None;
        }
        let learned = Learned { name, addresses };
        self.learned(&learned).await.ok()?;
        Some(learned.name)
    }

    /// The names that are written out.
    fn written(&self, sets: &[NameSet]) -> BTreeSet<HostName> {
        let patterns = sets.iter().filter_map(|set| self.0.patterns.get(set));
        patterns
            .flatten()
            .filter_map(|pattern| match pattern {
                HostPattern::Exact(name) => Some(name.clone()),
                HostPattern::Below(_) => None,
            })
            .collect()
    }
}

/// How often names are looked up.
const AGAIN: Duration = Duration::from_secs(60);

/// The same, while some have no address.
const SOONER: Duration = Duration::from_secs(10);

/// How long a lookup may take.
const LOOKUP: Duration = Duration::from_secs(5);

/// Lookups at once.
const AT_ONCE: usize = 32;
