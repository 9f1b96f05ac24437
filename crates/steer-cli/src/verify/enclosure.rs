//! A command whose method tells its packets from nobody's, in namespaces of its own: nothing that
//! goes round the method gets out, and all of it is counted.

use async_trait::async_trait;
use steer::core::address::{Destination, PortRange};
use steer::core::intake::Intake;
use steer::core::intent::{Dns, Intent, Relay, Scope};
use steer::core::method::Method;
use steer::core::object::{Binding, ChildSetting, Listener, Object};
use steer::core::plan::{Netns, Plan};
use steer::core::steered::{Refusal, Steered};
use steer::registry;

use crate::failure::Failure;
use crate::steering::Decided;

/// Puts the command of a plan into namespaces of its own, unless it is apart already.
pub(crate) fn enclose(decided: &mut Decided) -> Result<(), Failure> {
    let plan = &decided.choice.plan;
    let is_apart = |setting: &Object| {
        matches!(
            setting,
            Object::Namespace(_) | Object::Child(ChildSetting::Cgroup(_))
        )
    };
    if plan.objects.iter().any(|p| is_apart(&p.object)) {
        return Ok(());
    }
    let method = plan.method;
    if decided.intent.relay == Some(Relay::Needed) {
        return Err(Failure::plain(
            "`relay: needed` gives programs connections of their own past the engine, which `--verify` would take for escapes",
            "remove `relay`, or leave `--verify` out",
        ));
    }
    let cannot = |why: String, help: String| {
        Failure::plain(
            format!(
                "`--verify` with the method {method} needs namespaces of the command's own: {why}"
            ),
            help,
        )
    };
    let walls = registry::find(Method::Netns)
        .ok_or_else(|| cannot("not in this build".to_owned(), WITHOUT.to_owned()))?
        .plan(&around(&decided.intent), &decided.host)
        .map_err(|error| cannot(error.to_string(), WITHOUT.to_owned()))?;
    decided.choice.plan = joined(plan, walls);
    // What is to be seen at the engine has to pass it.
    decided.intent.relay = Some(Relay::Always);
    Ok(())
}

/// Whether a listener takes what went round the method of the plan.
pub(crate) fn is_wall(plan: &Plan, listener: &Listener, netns: &Netns) -> bool {
    *netns == Netns::New
        && listener.method != plan.method
        && listener.binding == Binding::Transparent
}

/// The walls leave loopback what it is to the command without them: its own, and the host's where
/// it has no server there.
fn around(intent: &Intent) -> Intent {
    let mut walls = Intent::new(intent.instance.clone(), Scope::command());
    let all = PortRange::new(1, u16::MAX).expect("1 is not more than the last port");
    walls.confine.host_loopback = vec![all];
    walls.bypass = intent.bypass;
    walls.steer = intent.steer;
    walls
}

/// The plan with all that the command reaches inside the walls.
fn joined(plan: &Plan, walls: Plan) -> Plan {
    let mut all = Plan::new(plan.method);
    all.objects = walls.objects;
    for planned in &plan.objects {
        let mut planned = planned.clone();
        if let Object::Listener(_) = planned.object {
            planned.netns = Netns::New;
        }
        all.objects.push(planned);
    }
    all.notes.clone_from(&plan.notes);
    all
}

/// Refuses what went round the method, but for what it leaves alone: queries, and the host's
/// loopback.
#[derive(Debug)]
pub(crate) struct Sieve {
    intake: Box<dyn Intake>,
    dns_passes: bool,
}

impl Sieve {
    /// Before the engine.
    pub(crate) fn new(intake: Box<dyn Intake>, intent: &Intent) -> Self {
        Self {
            intake,
            dns_passes: intent.traffic.dns != Some(Dns::Capture),
        }
    }

    fn passes(&self, steered: &Steered) -> bool {
        let to = &steered.destination;
        let loopback = match to {
            Destination::Addr(to) => to.addr().ip().to_canonical().is_loopback(),
            Destination::Name { .. } => false,
        };
        loopback || (to.port() == 53 && self.dns_passes)
    }
}

#[async_trait]
impl Intake for Sieve {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let steered = self.intake.next().await?;
            if self.passes(&steered) {
                return Some(steered);
            }
            // It came in a moment, and its refusal takes none: nothing is waited for.
            steered.answer.failed(steered.flow, Refusal::Denied).await;
        }
    }
}

const WITHOUT: &str = "leave `--verify` out, or use `-m netns`, `-m redirect` or `-m tproxy`";
