//! The rulesets of a plan, put together from what a method has for it.

use steer_core::address::Family;
use steer_core::host::Host;
use steer_core::intent::{Intent, OnFailure};
use steer_core::plan::{Life, Plan};
use steer_core::ruleset::{Chain, Role, Ruleset};

use crate::backend::Filter;
use crate::listeners;
use crate::rules::guard::{self, Known};
use crate::rules::traffic::Decision;
use crate::rules::way::Way;

/// What the rulesets are made from.
pub struct Parts<'a> {
    /// What is wanted.
    pub intent: &'a Intent,
    /// What there is.
    pub host: &'a Host,
    /// Where the packets come by.
    pub way: &'a Way,
    /// What becomes of them.
    pub decisions: &'a [Decision],
    /// The families that are steered.
    pub families: Vec<Family>,
    /// The chains that bring packets to the engine.
    pub steer: Vec<Chain>,
    /// What the refusing chains have to know.
    pub known: Known,
    /// Chains that refuse beside those that every method has.
    pub refuse: Vec<Chain>,
}

impl Parts<'_> {
    /// Adds the rulesets: what refuses under `closed` outlives the engine, under `open` it does not.
    pub fn push(self, plan: &mut Plan) {
        let Self {
            intent,
            host,
            way,
            decisions,
            families,
            mut steer,
            known,
            refuse,
        } = self;
        let filter = Filter::of(intent, host);
        match intent.failure() {
            OnFailure::Closed => {
                let mut chains = guard::closed(intent, way, decisions, &known);
                chains.extend(refuse);
                let guard = Ruleset {
                    role: Role::Guard,
                    families: listeners::refusable(host),
                    chains,
                };
                plan.push(Life::Guard, filter.object(guard));
            }
            OnFailure::Open => {
                steer.extend(guard::always(intent, way, decisions, &known.steered));
                steer.extend(refuse);
            }
        }
        let steer = Ruleset {
            role: Role::Steer,
            families,
            chains: steer,
        };
        plan.push(Life::Steer, filter.object(steer));
    }
}
