//! `steer run --verify`: proof, by counting, that nothing left except through the engine.

mod alone;

use std::fmt::Display;

use steer::core::intent::{Intent, Scope};
use steer::core::object::ChildSetting;
use steer::core::symbol::CgroupRef;
use steer::kernel::witness::{Tally, Witness};

use crate::failure::Failure;
use crate::say;
use crate::session::Session;
use crate::steering::Decided;

/// A witness of the command, in place before it starts.
#[derive(Debug)]
pub(crate) struct Verification {
    witness: Witness,
    intent: Intent,
}

/// What the witness said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing left that should not have.
    Held,
    /// Something did, or nobody knows.
    Escaped,
}

impl Verification {
    /// Starts to count, before the command does.
    pub(crate) fn begin(decided: &Decided, session: &Session) -> Result<Self, Failure> {
        let intent = decided.intent.clone();
        tellable(&intent)?;
        let cgroup = session.child().iter().find_map(|setting| match setting {
            ChildSetting::Cgroup(CgroupRef::Path(path)) => Some(path),
            _ => None,
        });
        let Some(cgroup) = cgroup else {
            return Err(Failure::plain(
                format!(
                    "`--verify` cannot count for the method {}: nothing tells the command's packets from those of others",
                    decided.choice.plan.method
                ),
                "leave `--verify` out, or choose a method that keeps the command apart: `-m netns` without privileges, `-m tproxy` or `-m redirect` as root",
            ));
        };
        let witness = Witness::of_cgroup(&intent.instance, cgroup, session.marked())
            .map_err(|error| Failure::new(&error, error.help()))?;
        Ok(Self { witness, intent })
    }

    /// Says on stderr what was counted.
    pub(crate) fn end(self) -> Verdict {
        let Self {
            mut witness,
            intent,
        } = self;
        match witness.read() {
            Ok(tally) => report(&tally, &intent),
            Err(error) => {
                say(&Failure::new(&error, error.help()));
                Verdict::Escaped
            }
        }
    }
}

/// Packets are told apart by protocol, address and port: whatever else the config leaves alone
/// would be taken for an escape.
fn tellable(intent: &Intent) -> Result<(), Failure> {
    let Scope { except, .. } = &intent.scope;
    let traffic = &intent.traffic;
    let key = if !except.is_empty() {
        "scope.except"
    } else if !traffic.include.domains.is_empty() {
        "traffic.include.domains"
    } else if !traffic.exclude.domains.is_empty() {
        "traffic.exclude.domains"
    } else {
        return Ok(());
    };
    Err(Failure::plain(
        format!(
            "`--verify` cannot tell what `{key}` leaves alone from what escapes: it sees protocols, addresses and ports"
        ),
        format!("remove `{key}`, or leave `--verify` out"),
    ))
}

fn report(tally: &Tally, intent: &Intent) -> Verdict {
    let mut alone = 0;
    let mut escaped = tally.unlisted;
    for left in &tally.left {
        match alone::by(&intent.traffic, left) {
            Some(key) => {
                alone += left.packets;
                tell(&format_args!("left alone: {left} ({key})"));
            }
            None => {
                escaped += left.packets;
                tell(&format_args!("escaped: {left}"));
            }
        }
    }
    if tally.unlisted > 0 {
        tell(&format_args!(
            "escaped: {} more, to destinations that there was no room to list",
            packets(tally.unlisted)
        ));
    }
    let counted = packets(tally.counted);
    match (escaped, alone) {
        (0, 0) => tell(&format_args!(
            "verified: {counted} counted, none left except through the engine"
        )),
        (0, alone) => tell(&format_args!(
            "verified: {counted} counted, none left except through the engine and {alone} that the config leaves alone"
        )),
        (escaped, _) => {
            tell(&format_args!(
                "not verified: {counted} counted, {escaped} left past the engine"
            ));
            return Verdict::Escaped;
        }
    }
    Verdict::Held
}

fn packets(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} packet{plural}")
}

fn tell(text: &dyn Display) {
    say(&format_args!("steer: {text}"));
}
