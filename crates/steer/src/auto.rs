//! The choice of a method.

use std::fmt;

use steer_core::host::Host;
use steer_core::intent::Intent;
#[cfg(feature = "explicit")]
use steer_core::intent::{Listen, Scope, Traffic};
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::plan::{Netns, Plan};
use steer_core::steerer::{Evidence, PlanError, Steerer};

use crate::registry;

/// What `method: auto` tries, in this order: what steers most comes first, and what leaves the
/// command's surroundings as they are before what does not.
///
/// `tproxy`, `redirect`, `ebpf` and `tap` need privilege, `tun` for all but a command. Nothing escapes
/// `netns`. `tun` is for a host whose kernel has nothing of what those before it need, and for what is
/// written about a device; `tap` for stations of a link, which no other method has. Of the others
/// `seccomp` steers every program, TCP above all; `preload` those that are dynamic; `env` those that
/// are willing. `explicit` is among them only where a port is written: nobody asked for a proxy port
/// otherwise. `dns` never is: it binds programs only that are told to ask its resolver.
#[must_use]
pub fn order(intent: &Intent) -> Vec<Method> {
    let mut order = vec![
        Method::Tproxy,
        Method::Redirect,
        Method::Ebpf,
        Method::Netns,
        Method::Tun,
        Method::Tap,
        Method::Seccomp,
        Method::Preload,
        Method::Env,
    ];
    if !intent.forward.is_empty() || intent.listen.explicit.is_some() {
        order.push(Method::Explicit);
    }
    order
}

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
    /// It was tried in a namespace of its own and did not work.
    #[error("it was tried and does not work here: {why}")]
    Tried {
        /// What went wrong.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// It is not in this build.
    #[error("the method {0} is not in this build")]
    Absent(Method),
}

/// No method of the list can honour the intent.
#[derive(Debug)]
pub struct NoMethod {
    /// Each method with its reason.
    pub refused: Vec<Refused>,
}

/// The first method of the list that has a plan for the intent on this host. Pure: nothing is tried.
pub fn choose(order: &[Method], intent: &Intent, host: &Host) -> Result<Choice, NoMethod> {
    let mut refused = Vec::new();
    for method in order {
        match planned(*method, intent, host) {
            Ok((steerer, plan)) => {
                return Ok(Choice {
                    steerer,
                    plan,
                    refused,
                });
            }
            Err(why) => refused.push(Refused {
                method: *method,
                why,
            }),
        }
    }
    Err(NoMethod { refused })
}

/// As [`choose`], and really tries each method that has a plan, in a throw-away namespace: one that
/// fails is passed over. One that cannot be tried is taken at its plan's word.
pub async fn choose_tried(
    order: &[Method],
    intent: &Intent,
    host: &Host,
) -> Result<Choice, NoMethod> {
    let mut refused = Vec::new();
    for method in order {
        let why = match planned(*method, intent, host) {
            Ok((steerer, plan)) => match steerer.probe(intent).await {
                Evidence::Works | Evidence::Unknown { .. } => {
                    return Ok(Choice {
                        steerer,
                        plan,
                        refused,
                    });
                }
                Evidence::Fails { why, remedy } => Why::Tried { why, remedy },
            },
            Err(why) => why,
        };
        refused.push(Refused {
            method: *method,
            why,
        });
    }
    Err(NoMethod { refused })
}

fn planned(
    method: Method,
    intent: &Intent,
    host: &Host,
) -> Result<(&'static dyn Steerer, Plan), Why> {
    let steerer = registry::find(method).ok_or(Why::Absent(method))?;
    let plan = whole_plan(steerer, intent, host)?;
    Ok((steerer, plan))
}

/// The method's plan, with the ports that the intent asks for beside it.
///
/// `forward` and `listen.explicit` are served by another method where this one does not: their
/// plans are joined.
fn whole_plan(steerer: &dyn Steerer, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    let serves_ports = steerer.profile().keys.contains(&Key::Forward);
    if serves_ports || (intent.forward.is_empty() && intent.listen.explicit.is_none()) {
        return steerer.plan(intent, host);
    }
    let mut without_ports = Intent {
        forward: Vec::new(),
        ..intent.clone()
    };
    if without_ports.listen.explicit.take().is_some() {
        without_ports.listen.auth = None;
    }
    let plan = steerer.plan(&without_ports, host)?;
    let mut ports = ports(intent, host)?;
    if plan.namespace().is_some() {
        // They are where the command is, which could not reach them elsewhere.
        for planned in &mut ports.objects {
            planned.netns = Netns::New;
        }
    }
    Ok(plan.join(ports))
}

#[cfg(feature = "explicit")]
fn ports(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    if intent.listen.explicit.is_none() {
        return Ok(steer_env::forward_plan(intent, Method::Explicit));
    }
    let ports_alone = Intent {
        scope: Scope::default(),
        traffic: Traffic::default(),
        on_failure: None,
        backend: None,
        listen: Listen {
            outbound: None,
            ..intent.listen.clone()
        },
        ..intent.clone()
    };
    steer_env::Explicit.plan(&ports_alone, host)
}

#[cfg(not(feature = "explicit"))]
fn ports(_intent: &Intent, _host: &Host) -> Result<Plan, PlanError> {
    Err(PlanError::Keys {
        method: Method::Explicit,
        keys: vec![Key::Forward],
    })
}

impl Refused {
    /// What to do to have this method after all.
    #[must_use]
    pub fn help(&self) -> String {
        match &self.why {
            Why::Plan(error) => error.help(),
            Why::Tried { remedy, .. } => remedy.clone(),
            Why::Absent(_) => {
                let built: Vec<_> = registry::all().iter().map(|s| s.method().name()).collect();
                format!("choose one of {}", built.join(", "))
            }
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
