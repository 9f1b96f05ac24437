//! Scope and traffic as rules: what every netfilter method shares.
//!
//! ```text
//! Scope ───> way (local, forwarded, inbound) ──┐
//! Scope ───> scope (who) ──────────────────────┼─> steer chains of the method
//! Traffic ─> traffic (what, as decisions) ─────┼─> marking (what is chosen gets the mark)
//!                                              ├─> guard (refuses what is not steered)
//! Listeners > gate (who reaches the engine) ───┘
//! ```

use steer_core::address::Protocol;
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

/// The rule, of the hook output, that loses what the engine's sockets answer to flows that conntrack
/// has forgotten, as behind any other translation: it would begin a flow of the server's, and what the
/// client then sends would be its answer and no longer in scope.
///
/// None where a mark is written for all of the engine's sockets: its dials may begin flows.
pub fn forgotten(intent: &Intent, protocol: Protocol) -> Option<Rule> {
    let mark = intent.answer_mark();
    (mark != intent.bypass).then(|| {
        Rule::new(
            [
                Test::Protocol(protocol),
                Test::FromOpener,
                Test::Marked(MarkRef::Fixed(mark)),
            ],
            Verdict::Drop,
            "an answer that would begin a flow",
        )
    })
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
