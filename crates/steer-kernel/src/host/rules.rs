//! Policy routing rules of others.

use steer_core::address::Family;
use steer_core::host::{MarkBits, MarkUse, Neighbour};

use crate::route;

/// Every rule that others made, and the marks that these look at. Nothing where they cannot be
/// listed, which needs no privilege.
pub(super) fn neighbours() -> Vec<Neighbour> {
    let rules = route::rules().unwrap_or_default();
    let mut found = Vec::new();
    for rule in rules.iter().filter(|rule| rule.is_foreign()) {
        found.push(Neighbour::Rule {
            family: rule.family,
            priority: rule.priority,
            by: rule.to_string(),
        });
        let program = match rule.family {
            Family::V4 => "ip rule",
            Family::V6 => "ip -6 rule",
        };
        found.extend(rule.mark.map(|mark| Neighbour::Mark {
            mark: MarkBits {
                value: mark.value,
                mask: mark.mask,
            },
            usage: MarkUse::Tested,
            by: format!("{program} {}", rule.priority),
        }));
    }
    found.sort();
    found
}
