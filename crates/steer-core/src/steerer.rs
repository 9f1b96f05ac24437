//! The seam that every method implements.

pub mod names;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use serde::Serialize;

use crate::driver::Driver;
use crate::host::{Host, Presence};
use crate::intake::{Bound, Intake};
use crate::intent::{Dial, Intent};
use crate::key::Key;
use crate::method::Method;
use crate::object::Listener;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::requirement::Requirement;

/// A way to bring traffic to the engine.
#[async_trait]
pub trait Steerer: fmt::Debug + Send + Sync {
    /// Its name.
    fn method(&self) -> Method {
        self.profile().method
    }

    /// What it can do.
    fn profile(&self) -> &'static Profile;

    /// What it needs of the host for this intent; asking changes nothing.
    fn requirements(&self, intent: &Intent, host: &Host) -> Vec<Requirement>;

    /// What would be done. Pure: equal inputs, equal plans.
    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError>;

    /// The drivers that its plans need, for whoever puts a plan in force.
    fn drivers(&self) -> Vec<Box<dyn Driver>>;

    /// Connections of a listener of its plan.
    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>>;

    /// From where what comes to a listener of its plan is dialled, where the plan has namespaces of
    /// its own: from outside, but for what is meant for a server inside.
    fn dials(&self, listener: &Listener) -> Dial {
        let _ = listener;
        Dial::Outside
    }

    /// Whether a program would be steered, as far as that shows before it starts.
    ///
    /// `program` is the file that would be executed.
    ///
    /// # Errors
    /// It would slip through.
    fn examine(&self, program: &Path, args: &[OsString]) -> Result<(), Slips> {
        let _ = (program, args);
        Ok(())
    }

    /// Removes what engines left behind that were killed, as far as no driver knows of it, and tells
    /// what became of each thing, for people. What is still needed stays.
    ///
    /// # Errors
    /// It could not be looked for, or not removed.
    fn sweep(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Really tries the method for this intent, where that is harmless.
    async fn probe(&self, intent: &Intent) -> Evidence;
}

/// A program that a method would not steer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program} would not be steered by the method {method}: {why}")]
pub struct Slips {
    /// The program file.
    pub program: String,
    /// The method.
    pub method: Method,
    /// Why not.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a try of a method showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It was done, and it worked.
    Works,
    /// It was tried and does not work.
    Fails {
        /// What went wrong.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// It could not be tried.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nobody is meant.
    #[error("the scope is empty: no traffic is chosen")]
    EmptyScope,
    /// Written keys that the method cannot honour.
    #[error("the method {method} cannot honour {}", joined(keys))]
    Keys {
        /// The method.
        method: Method,
        /// The keys.
        keys: Vec<Key>,
    },
    /// The host lacks something.
    #[error("the method {method} needs what is missing here: {}", lacking(missing))]
    Missing {
        /// The method.
        method: Method,
        /// What is missing.
        missing: Vec<Requirement>,
    },
    /// The intent holds nothing that the method could steer.
    #[error("nothing is left to steer: {why}")]
    Nothing {
        /// Why.
        why: String,
    },
    /// Written keys that exclude each other.
    #[error("{} cannot stand together: {why}", joined(keys))]
    Together {
        /// The keys.
        keys: Vec<Key>,
        /// Why not.
        why: String,
    },
    /// A written key that means nothing without another one.
    #[error("{key} needs {needs}")]
    Without {
        /// The key that is written.
        key: Key,
        /// What is not written.
        needs: &'static str,
    },
    /// A written list that is longer than what the method can hold.
    #[error("{key} has {count} entries: the method {method} has room for {most}")]
    TooMany {
        /// The method.
        method: Method,
        /// The key.
        key: Key,
        /// How many are written.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Something of others here would be taken for ours, or takes what is ours.
    #[error("{ours} is not for steer alone here: {by}")]
    Clash {
        /// What the method would use.
        ours: String,
        /// Who uses it, and how.
        by: String,
        /// What to do about it.
        remedy: String,
    },
}

impl PlanError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::EmptyScope => {
                "write a scope (host: true, cgroup, uid or gid), or use `steer run -- COMMAND`"
                    .to_owned()
            }
            Self::Keys { .. } => {
                "remove the key, or choose a method that honours it (method: auto does)".to_owned()
            }
            Self::Missing { missing, .. } => missing
                .iter()
                .map(|m| m.remedy.clone())
                .collect::<Vec<_>>()
                .join("; "),
            Self::Nothing { .. } => "include more, or exclude less, under traffic".to_owned(),
            Self::Together { .. } => {
                "write one of the keys, and the other in a second steering (another `name`)"
                    .to_owned()
            }
            Self::Without { key, needs } => format!("write {needs} as well, or leave {key} out"),
            Self::TooMany { .. } => "write fewer (ranges of ids, a cgroup above the others), or \
                                     several steerings (each with another `name`)"
                .to_owned(),
            Self::Clash { remedy, .. } => remedy.clone(),
        }
    }
}

/// The checks that every method's plan begins with: a scope, keys that can be honoured, a host
/// that has what is needed.
pub fn admit(steerer: &dyn Steerer, intent: &Intent, host: &Host) -> Result<(), PlanError> {
    if intent.scope.is_empty() && !intent.link.chooses() {
        return Err(PlanError::EmptyScope);
    }
    let method = steerer.method();
    let keys = steerer.profile().refused(intent);
    if !keys.is_empty() {
        return Err(PlanError::Keys { method, keys });
    }
    let missing: Vec<_> = steerer
        .requirements(intent, host)
        .into_iter()
        .filter(Requirement::is_missing)
        .collect();
    if !missing.is_empty() {
        return Err(PlanError::Missing { method, missing });
    }
    Ok(())
}

/// What is missing and why, without the remedies, which are the help's.
fn lacking(missing: &[Requirement]) -> String {
    let lines: Vec<_> = missing
        .iter()
        .map(|need| match &need.presence {
            Presence::Absent(why) | Presence::Unknown(why) => format!("{} ({why})", need.what),
            Presence::Present => need.what.clone(),
        })
        .collect();
    lines.join(", ")
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
