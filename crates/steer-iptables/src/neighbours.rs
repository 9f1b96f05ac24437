//! What others on the host do with marks, rules and priorities, and whether it is in the way.

use steer_core::host::{Host, Neighbour};
use steer_core::intent::Intent;
use steer_core::mark::Mark;
use steer_core::plan::Plan;
use steer_core::ruleset::{ChainKind, Hook};
use steer_core::steerer::PlanError;

/// Refuses marks that others use, too. What is in another namespace is not known.
pub(crate) fn check(host: &Host, intent: &Intent, marks: &[Mark]) -> Result<(), PlanError> {
    for (theirs, by) in foreign(host, intent).filter_map(|neighbour| match neighbour {
        Neighbour::Mark { mark, by } => Some((Mark::from(*mark), by)),
        Neighbour::Rule { .. } | Neighbour::Chain { .. } => None,
    }) {
        let Some(ours) = marks.iter().find(|ours| ours.clashes(theirs)) else {
            continue;
        };
        let key = if *ours == intent.bypass {
            "bypass"
        } else {
            "steer"
        };
        return Err(PlanError::Clash {
            ours: format!("the mark {ours}"),
            by: format!("{by} uses the mark {theirs}"),
            remedy: format!(
                "choose bits that nobody uses, in the config: `mark: {{ {key}: {} }}`",
                suggestion(host, intent)
            ),
        });
    }
    Ok(())
}

/// Names the chains of others that stand exactly where those of a plan do.
pub(crate) fn notes(
    host: &Host,
    intent: &Intent,
    places: &[(ChainKind, Hook, i32)],
    plan: &mut Plan,
) {
    for neighbour in foreign(host, intent) {
        if let Neighbour::Chain {
            kind,
            hook,
            priority,
            by,
        } = neighbour
            && places.contains(&(*kind, *hook, *priority))
        {
            plan.note(format!(
                "{by} has our priority {priority} at its hook: which of the two comes first, the \
                 order of their making decides"
            ));
        }
    }
}

/// What the rules of others do before ours: `first` and `last` are the priorities that ours can
/// have.
pub(crate) fn rules(
    host: &Host,
    intent: &Intent,
    (first, last): (u32, u32),
    plan: &mut Plan,
) -> Result<(), PlanError> {
    for neighbour in foreign(host, intent) {
        let Neighbour::Rule {
            family,
            priority,
            by,
        } = neighbour
        else {
            continue;
        };
        // The table of local addresses comes before everything, and is no obstacle.
        if *priority == 0 || *priority > last {
            continue;
        }
        if catches_all(by) {
            return Err(PlanError::Clash {
                ours: format!("the way of marked packets ({family}, rule {first})"),
                by: format!("`{by}` stands before it and takes every packet"),
                remedy: format!(
                    "move that rule behind {last} (`ip rule add … priority {}`), or choose \
                     `-m redirect`, which needs no rule",
                    last + 1
                ),
            });
        }
        if *priority >= first {
            plan.note(format!(
                "the rule `{by}` ({family}) has a priority of ours: where both match, the older \
                 one holds"
            ));
        }
    }
    Ok(())
}

/// Whether a rule, as `ip rule` shows it, asks nothing of a packet.
fn catches_all(rule: &str) -> bool {
    let asks = [
        "not",
        "to",
        "fwmark",
        "iif",
        "oif",
        "uidrange",
        "ipproto",
        "sport",
        "dport",
        "tos",
        "dsfield",
        "tun_id",
        "l3mdev",
        "suppress_prefixlength",
        "suppress_ifgroup",
        "goto",
        "nop",
    ];
    let mut words = rule.split_whitespace();
    let from_all = rule.contains("from all");
    from_all && !words.any(|word| asks.contains(&word))
}

/// A mark of bits that neither neighbours nor the usual marks use.
fn suggestion(host: &Host, intent: &Intent) -> String {
    let ours = intent.bypass.mask | Mark::STEER.mask;
    let taken = host
        .neighbours
        .iter()
        .fold(ours, |taken, neighbour| match neighbour {
            Neighbour::Mark { mark, .. } if mark.mask != u32::MAX => taken | mark.mask,
            Neighbour::Mark { mark, .. } => taken | mark.value,
            Neighbour::Rule { .. } | Neighbour::Chain { .. } => taken,
        });
    let free = (0..=28).rev().map(|shift| 0x7_u32 << shift);
    match free.into_iter().find(|mask| mask & taken == 0) {
        Some(mask) => Mark { value: mask, mask }.to_string(),
        None => "0x…/0x…".to_owned(),
    }
}

/// Neighbours in the namespace of the rules, as far as they are known.
fn foreign<'a>(host: &'a Host, intent: &Intent) -> impl Iterator<Item = &'a Neighbour> {
    let known = intent.scope.of.netns.is_none();
    host.neighbours.iter().filter(move |_| known)
}
