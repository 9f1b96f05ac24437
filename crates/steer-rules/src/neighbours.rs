//! What others on the host do with marks, rules and priorities, and whether it is in the way.

use steer_core::host::{Host, MarkUse, Neighbour};
use steer_core::intent::{Intent, OnFailure};
use steer_core::mark::Mark;
use steer_core::plan::Plan;
use steer_core::ruleset::{ChainKind, Hook};
use steer_core::steerer::PlanError;

/// Refuses marks that others use, too.
pub fn check(host: &Host, intent: &Intent, marks: &[Mark]) -> Result<(), PlanError> {
    for (theirs, by) in host
        .neighbours
        .iter()
        .filter_map(|neighbour| match neighbour {
            Neighbour::Mark { mark, by, usage: _ } => Some((Mark::from(*mark), by)),
            Neighbour::Rule { .. } | Neighbour::Chain { .. } => None,
        })
    {
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

/// Names the chains of others that stand exactly where those of a plan do, and the rules of others
/// that overwrite its marks.
pub fn notes(host: &Host, places: &[(ChainKind, Hook, i32)], marks: &[Mark], plan: &mut Plan) {
    for neighbour in &host.neighbours {
        if let Neighbour::Mark {
            mark: theirs,
            usage: MarkUse::Set,
            by,
        } = neighbour
            && let Some(ours) = marks.iter().find(|ours| ours.mask & theirs.mask != 0)
        {
            plan.note(format!(
                "{by} sets the mark {}, and so takes bits of ours ({ours}) away: packets and \
                 connections that it meets behind our rules are no longer known as steered or as \
                 the engine's own; have it set its own bits only",
                Mark::from(*theirs)
            ));
        }
        // Whatever a chain may do, its place among the others is a number.
        if let Neighbour::Chain {
            kind: _,
            hook,
            priority,
            by,
        } = neighbour
            && places.iter().any(|(_, h, at)| (h, at) == (hook, priority))
        {
            plan.note(format!(
                "{by} has our priority {priority} at its hook: which of the two comes first, the \
                 order of their making decides"
            ));
        }
    }
}

/// What the rules of others do with packets that ours are to route; `first` and `last` are the
/// priorities that ours can have, `entering` the interfaces that they name.
///
/// A rule before ours that may take them is refused where nothing may go unsteered: it would not
/// leak, but what its table has a route for would get nowhere.
pub fn rules(
    host: &Host,
    failure: OnFailure,
    (first, last): (u32, u32),
    entering: &[String],
    plan: &mut Plan,
) -> Result<(), PlanError> {
    for neighbour in &host.neighbours {
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
        let taken = Taken::by(by, entering);
        let takes = match (taken, failure) {
            _ if *priority >= first => None,
            (Taken::Surely, _) => Some("takes them"),
            (Taken::Maybe, OnFailure::Closed) => Some("takes those that its table has a route for"),
            (Taken::Maybe, OnFailure::Open) | (Taken::No, _) => None,
        };
        if let Some(takes) = takes {
            return Err(PlanError::Clash {
                ours: format!("the way of marked packets ({family}, rule {first})"),
                by: format!("the rule `{by}` stands before it and {takes}"),
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
        } else if taken == Taken::Maybe {
            plan.note(format!(
                "the rule `{by}` ({family}) stands before ours: what its table has a route for goes \
                 direct, as on_failure: open says"
            ));
        }
    }
    Ok(())
}

/// Whether marked packets go another way by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It asks nothing of them, and leads to an end or to the routes that they came by.
    Surely,
    /// It asks nothing that they do not have, and leads to a table of which nothing is known.
    Maybe,
    /// It asks for something else.
    No,
}

impl Taken {
    /// By a rule as `ip rule` shows it.
    fn by(rule: &str, entering: &[String]) -> Self {
        let words: Vec<&str> = rule.split_whitespace().skip(1).collect();
        let rest = match words.as_slice() {
            ["from", "all", "iif", name, rest @ ..] if entering.iter().any(|e| e == name) => rest,
            ["from", "all", rest @ ..] => rest,
            _ => return Self::No,
        };
        match rest {
            ["lookup", "main" | "default"] | ["blackhole" | "unreachable" | "prohibit"] => {
                Self::Surely
            }
            ["lookup", _] => Self::Maybe,
            _ => Self::No,
        }
    }
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
