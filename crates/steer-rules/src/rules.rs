//! Scope and traffic as rules: what every netfilter method shares.
//!
//! ```text
//! Scope ───> way (local, forwarded, inbound) ──┐
//! Scope ───> scope (who) ──────────────────────┼─> steer chains of the method
//! Traffic ─> traffic (what, as decisions) ─────┼─> marking (what is chosen gets the mark)
//!                                              ├─> guard (refuses what is not steered)
//! Listeners > gate (who reaches the engine) ───┘
//! ```

use steer_core::intent::Intent;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Rule, Test, Verdict};
use steer_core::symbol::MarkRef;

pub mod gate;
pub mod guard;
pub mod marking;
pub mod scope;
pub mod traffic;
pub mod way;

/// The rule that every chain of ours begins with.
pub fn bypass(intent: &Intent) -> Rule {
    Rule::new(
        [Test::Marked(MarkRef::Fixed(intent.bypass))],
        Verdict::Return,
        "the engine's own connections",
    )
}

/// A chain that others jump to.
pub fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base: None,
        rules,
    }
}

/// A chain that the kernel hands packets to.
pub fn hooked(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        base: Some(Base {
            kind,
            hook,
            priority,
        }),
        ..chain(name, rules)
    }
}

/// Where packets are refused: with the firewalls of others, before or after which makes no
/// difference to a refusal.
pub const REFUSE_AT: i32 = 0;
