//! The configuration, read again while it is in force.
//!
//! ```text
//! SIGHUP ─> again (read, plan) ─> lasting ─> Session::change ─┬─ engine: rules, upstreams
//!                                                             ├─ keeper: objects of the host
//!                                                             └─ records
//! ```

pub(crate) mod lasting;

use steer::core::config::Config;
use steer::core::intent::{Backend, Intent};
use steer::core::method::Method;
use steer::core::object::{IptablesVariant, Object};
use steer::core::plan::Plan;

use crate::args::Steering;
use crate::failure::Failure;
use crate::session::Session;
use crate::steering::{Decided, Purpose, Wish};

/// Reads the configuration again and puts it in the place of the one that is in force.
///
/// # Errors
/// What was in force is.
pub(crate) async fn reload(
    args: &Steering,
    decided: &mut Decided,
    session: &mut Session,
) -> Result<(), Failure> {
    let next = again(args, decided)?;
    session.change(decided, &next).await?;
    *decided = next;
    Ok(())
}

/// Reads the configuration and plans it, for the method that is in force and this host as it is.
fn again(args: &Steering, before: &Decided) -> Result<Decided, Failure> {
    let mut wish = Wish::read(args, Purpose::Config, None)?;
    let method = before.choice.steerer.method();
    if !wish.order().contains(&method) {
        return Err(lasting::failure(&["method"]));
    }
    let mut keys = lasting::keys(before, &wish.intent);
    keys.extend(lasting::onlookers(&before.config, &wish.config));
    if !keys.is_empty() {
        return Err(lasting::failure(&keys));
    }
    identified(&wish.config, before, &mut wish.intent)?;
    let written = wish.intent.clone();
    let mut next = wish.planned(method)?;
    if let Some(backend) = backend(&before.choice.plan)
        && Some(backend) != self::backend(&next.choice.plan)
    {
        // Another one is what this host would be given by now, and nobody has asked for it.
        next = next.planned_by(method, backend)?;
    }
    if let Some(what) = steer::core::engaged::lasting(&before.choice.plan, &next.choice.plan) {
        return Err(lasting::blamed(before, &next, &what));
    }
    next.intent = written;
    Ok(next)
}

/// Has the intent say what the intakes do: whether they find out who asks is settled at the start.
fn identified(config: &Config, before: &Decided, intent: &mut Intent) -> Result<(), Failure> {
    let wanted = std::mem::replace(&mut intent.identify, before.intent.identify);
    if !wanted || before.intent.identify {
        return Ok(());
    }
    let mut rules = config.policy.rules.iter();
    if let Some(rule) = rules.find(|rule| rule.condition.asks_for_identity()) {
        return Err(Failure::plain(
            format!(
                "the rule {} asks who the program is, which nothing asked for when steer was \
                 started",
                rule.name
            ),
            lasting::RESTART,
        ));
    }
    tracing::warn!("records tell who asked for a connection only after a restart");
    Ok(())
}

/// The packet filter that a plan's rules are for.
fn backend(plan: &Plan) -> Option<Backend> {
    plan.objects
        .iter()
        .find_map(|planned| match &planned.object {
            Object::Nft(_) => Some(Backend::Nft),
            Object::Iptables(_, IptablesVariant::Nft) => Some(Backend::Iptables),
            Object::Iptables(_, IptablesVariant::Legacy) => Some(Backend::IptablesLegacy),
            _ => None,
        })
}

/// Whether a plan has a port of this method.
fn is_served_by(plan: &Plan, method: Method) -> bool {
    plan.objects.iter().any(|planned| match &planned.object {
        Object::Listener(listener) => listener.method == method,
        _ => false,
    })
}
