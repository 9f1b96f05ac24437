//! The choice of a method.

use std::fmt;

use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::plan::Plan;
use steer_core::steerer::{PlanError, Steerer};

use crate::registry;

/// What `method: auto` tries, in this order.
pub const ORDER: [Method; 2] = [Method::Redirect, Method::Env];

/// A method that can honour an intent on a host.
#[derive(Debug)]
pub struct Choice {
    /// The method.
    pub steerer: &'static dyn Steerer,
    /// What it would do.
    pub plan: Plan,
    /// Those before it in the order, and why each could not.
    pub refused: Vec<Refused>,
}

/// A method that cannot honour an intent.
#[derive(Debug)]
pub struct Refused {
    /// The method.
    pub method: Method,
    /// Why not.
    pub why: Why,
}

/// Why a method was passed over.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It has no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It is not in this build.
    #[error("it is not built in (cargo feature `{0}`)")]
    Absent(Method),
}

/// No method of the list can honour the intent.
#[derive(Debug)]
pub struct NoMethod {
    /// Each method with its reason.
    pub refused: Vec<Refused>,
}

/// The first method of the list that has a plan for the intent on this host.
pub fn choose(order: &[Method], intent: &Intent, host: &Host) -> Result<Choice, NoMethod> {
    let mut refused = Vec::new();
    for method in order {
        let why = match registry::find(*method) {
            None => Why::Absent(*method),
            Some(steerer) => match steerer.plan(intent, host) {
                Ok(plan) => {
                    return Ok(Choice {
                        steerer,
                        plan,
                        refused,
                    });
                }
                Err(error) => Why::Plan(error),
            },
        };
        refused.push(Refused {
            method: *method,
            why,
        });
    }
    Err(NoMethod { refused })
}

impl Refused {
    /// What to do to have this method after all.
    #[must_use]
    pub fn help(&self) -> String {
        match &self.why {
            Why::Plan(error) => error.help(),
            Why::Absent(method) => format!("build with `--features {method}`"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}: {}", self.method, self.why)
    }
}

impl fmt::Display for NoMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refused.as_slice() {
            [one] => one.why.fmt(f),
            many => {
                write!(f, "no method can do this")?;
                for refused in many {
                    write!(f, "\n  {refused}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for NoMethod {}

impl NoMethod {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self.refused.as_slice() {
            [one] => one.help(),
            many => many
                .iter()
                .map(|r| format!("for {}: {}", r.method, r.help()))
                .collect::<Vec<_>>()
                .join("\n      "),
        }
    }
}
