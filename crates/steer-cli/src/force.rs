//! A plan in force, shared by those who guard it, change it and undo it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use steer::core::engaged::{ChangeError, Engaged};
use steer::core::intent::Intent;
use steer::core::keeper::{EngageError, KeeperError, Released};
use steer::core::object::ChildSetting;
use steer::core::plan::Plan;
use steer::core::symbol::{Bindings, Followed};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::follow::Rules;

/// A plan in force; the last one that holds it undoes it.
///
/// The keeper is spoken to on threads that may wait: it can take its time, and signals are heard
/// all the same.
#[derive(Clone, Debug)]
pub(crate) struct Force(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Nothing once it is released.
    engaged: Mutex<Option<Engaged>>,
    child: Vec<ChildSetting>,
    bindings: Bindings,
    /// Told after each question to the keeper, which may have called a successor in its place.
    asked: Notify,
}

/// Ends with a keeper.
pub(crate) type Lost = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Force {
    pub(crate) fn new(engaged: Engaged) -> Self {
        Self(Arc::new(Inner {
            child: engaged.child().to_vec(),
            bindings: engaged.bindings().clone(),
            engaged: Mutex::new(Some(engaged)),
            asked: Notify::new(),
        }))
    }

    /// How a command has to be started to be steered.
    pub(crate) fn child(&self) -> &[ChildSetting] {
        &self.0.child
    }

    /// The values that the plan's symbols got at first.
    pub(crate) fn bindings(&self) -> &Bindings {
        &self.0.bindings
    }

    /// What ends when the keeper that there is at present is gone.
    pub(crate) async fn watch(&self) -> Lost {
        match self.with(|engaged| engaged.lost()).await {
            Some(Ok(lost)) => return Box::pin(lost),
            Some(Err(error)) => tracing::warn!(%error, "the keeper cannot be watched"),
            None => {}
        }
        Box::pin(std::future::pending())
    }

    /// Waits until there may be another keeper to watch. Cancel safe.
    pub(crate) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Puts a successor in the place of a keeper that is gone.
    pub(crate) async fn restore(&self) -> Result<(), KeeperError> {
        self.with(Engaged::restore).await.unwrap_or(Ok(()))
    }

    /// Puts another plan in the place of the one that is in force.
    pub(crate) async fn change(&self, intent: &Intent, plan: &Plan) -> Result<(), ChangeError> {
        let (intent, plan) = (intent.clone(), plan.clone());
        let changed = self.with(move |engaged| {
            let names = engaged.bindings().names.clone();
            engaged.change(&intent, &plan, names)
        });
        let changed = changed.await;
        self.0.asked.notify_one();
        changed.unwrap_or(Ok(()))
    }

    /// Makes again what others took away of the plan that is in force.
    pub(crate) async fn renew(&self) -> Result<(), KeeperError> {
        let renewed = self.with(Engaged::renew).await;
        self.0.asked.notify_one();
        renewed.unwrap_or(Ok(()))
    }

    /// Takes no further flow.
    pub(crate) async fn retire(&self) -> Result<(), KeeperError> {
        self.with(Engaged::retire).await.unwrap_or(Ok(()))
    }

    /// Undoes the plan.
    pub(crate) async fn release(&self) -> Result<Released, KeeperError> {
        let released = self.run(|engaged| engaged.take().map(Engaged::release));
        released.await.unwrap_or(Ok(Released::Clean))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engaged) -> T + Send + 'static,
    ) -> Option<T> {
        self.run(|engaged| engaged.as_mut().map(work)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<Engaged>) -> T + Send + 'static,
    ) -> T {
        let inner = Arc::clone(&self.0);
        let done = spawn_blocking(move || {
            // What it guards is whole after every call, so a panic elsewhere does not spoil it.
            work(&mut inner.engaged.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(done) => done,
            // Nobody aborts it, so it is a panic, which goes on here.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[async_trait]
impl Rules for Force {
    type Error = EngageError;

    async fn follow(&self, names: Followed) -> Result<(), EngageError> {
        let followed = self.with(|engaged| engaged.follow(names)).await;
        self.0.asked.notify_one();
        followed.unwrap_or(Ok(()))
    }

    fn help(error: &EngageError) -> String {
        error.help()
    }
}
