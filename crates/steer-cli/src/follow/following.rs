//! Has the rules know what is known.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use steer::core::symbol::Followed;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Learner, Waiter};

/// Rules that follow names.
#[async_trait]
pub(crate) trait Rules: Send + Sync {
    /// Why they do not know them.
    type Error: fmt::Display + Send;

    /// Has them know these addresses, and no others.
    async fn follow(&self, names: Followed) -> Result<(), Self::Error>;

    /// What to do about an error.
    fn help(error: &Self::Error) -> String;
}

/// Has the rules know what a learner knows. Whoever waits for it when it ends is told that they
/// do not.
#[derive(Debug)]
pub(crate) struct Following {
    learner: Learner,
    waiters: mpsc::Receiver<Waiter>,
}

impl Following {
    pub(super) const fn new(learner: Learner, waiters: mpsc::Receiver<Waiter>) -> Self {
        Self { learner, waiters }
    }

    /// Tells the rules whenever somebody waits for it, all that wait at once; never returns.
    pub(crate) async fn keep_up<R: Rules>(mut self, rules: R) {
        let mut behind = false;
        loop {
            let first = tokio::select! {
                first = self.waiters.recv() => first,
                () = sleep(AGAIN), if behind => None,
            };
            let mut told: Vec<Waiter> = first.into_iter().collect();
            // Taken before the snapshot, so that it has what each of them has noted.
            while let Ok(next) = self.waiters.try_recv() {
                told.push(next);
            }
            let names = self.learner.known();
            behind = match rules.follow(names.clone()).await {
                Ok(()) => {
                    self.learner.applied(names);
                    for told in told {
                        // Whoever waited may have given up.
                        let _ = told.send(());
                    }
                    false
                }
                Err(error) => {
                    if !behind {
                        let help = R::help(&error);
                        tracing::warn!(%error, help, "names are not followed");
                    }
                    true
                }
            };
        }
    }
}

/// How soon the rules are told again what they could not be told.
const AGAIN: Duration = Duration::from_secs(1);
