//! Another policy, or other records, while the engine runs.
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use steer_core::policy::Policy;

use super::course::Course;
use super::{Engine, EngineError, Shared};
use crate::record::Recorder;

/// A policy that is ready to take the place of the one that is in force, or that was in force.
///
/// ```
/// use steer_core::policy::Policy;
/// use steer_proxy::engine::Engine;
///
/// let engine = Engine::builder(Policy::default()).build()?;
/// let change = engine.prepare(Policy::default())?;
/// let before = engine.change(change);
/// // Where the rest of a change fails, what was before is put back.
/// engine.change(before);
/// # Ok::<(), steer_proxy::engine::EngineError>(())
/// ```
#[derive(Debug)]
#[must_use = "it is not in force"]
pub struct Change(Arc<Course>);

impl Engine {
    /// Makes a policy ready: reads the secrets of its upstreams. What is in force stays.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`](super::EngineBuilder::build).
    pub fn prepare(&self, policy: Policy) -> Result<Change, EngineError> {
        let dialler = &self.shared.dialler;
        let before = self.shared.course();
        let sockets = dialler.sockets.as_ref();
        let course = Course::new(policy, &dialler.loops, sockets, &before.proxies)?;
        Ok(Change(Arc::new(course)))
    }

    /// Has whoever comes from here on go by another policy; gives the one that was in force.
    ///
    /// Connections that came before keep to what they met.
    pub fn change(&self, change: Change) -> Change {
        let Change(next) = change;
        self.shared.checks.follow(&next, &self.shared.dialler);
        let mut course = self
            .shared
            .course
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Change(std::mem::replace(&mut course, next))
    }

    /// Has the records of whatever ends from here on go elsewhere, also those of connections that
    /// came before; gives the recorder that they went to.
    ///
    /// Dropping that one writes what still waits in it, which can take as long as its sink likes.
    pub fn record_to(&self, recorder: Recorder) -> Recorder {
        let mut current = self
            .shared
            .recorder
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, recorder);
        // Nobody writes to it any more; what it loses of what waits is told in its own warnings.
        self.shared.lost.fetch_add(before.lost(), Relaxed);
        before
    }
}

impl Shared {
    /// What whoever comes goes by.
    pub(super) fn course(&self) -> Arc<Course> {
        // Only ever replaced as a whole, so a panic elsewhere leaves nothing half done.
        let course = self.course.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&course)
    }

    /// Where records go, held for as long as one is handed over.
    pub(super) fn recorder(&self) -> RwLockReadGuard<'_, Recorder> {
        self.recorder.read().unwrap_or_else(PoisonError::into_inner)
    }
}
