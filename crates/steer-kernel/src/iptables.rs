//! The iptables driver: chains of our own and one jump each, applied by `iptables-restore`.
//!
//! ```text
//! Ruleset ─ render ─> State (wanted) ─┐
//! -S ─ program ─────> State (stands) ─┴─ change_to ─> text ─ program ─> iptables-restore
//!                                        compat: the tables behind iptables-nft
//! ```
//!
//! What stands is read from the host, so that leftovers of a crash are adopted and a failure can
//! be undone by leading back to what was read.

pub(crate) mod compat;
mod place;
mod program;
mod render;
pub(crate) mod state;

use std::collections::BTreeSet;
use std::fs;
use std::io;

use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError, Found};
use steer_core::instance::Instance;
use steer_core::object::{Domain, IptablesVariant, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::{ChainKind, Hook, Ruleset};

use self::program::{Program, ProgramError};
use self::render::Unrenderable;
use self::state::{State, hook_name, owner, table_name};
use crate::drivers::netns::within;
use crate::nft::socket::{Netlink, Refused};

/// Puts rules into the tables of iptables.
#[derive(Debug, Default)]
pub struct IptablesDriver;

/// One family's step from what stands to what shall stand.
#[derive(Debug)]
struct Step {
    program: Program,
    standing: State,
    wanted: State,
}

impl IptablesDriver {
    /// A driver; the programs are looked for when they are needed.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Driver for IptablesDriver {
    fn domain(&self) -> Domain {
        Domain::Iptables
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let Change {
            instance,
            netns,
            from,
            to,
        } = *change;
        let wanted = rulesets(to)?;
        let before = rulesets(from)?;
        let variants: BTreeSet<IptablesVariant> =
            before.iter().chain(&wanted).map(|(_, v)| *v).collect();
        let what = format!("change the iptables rules of {instance}");
        within(Domain::Iptables, netns, || {
            let mut steps = Vec::new();
            for variant in variants {
                let wanted: Vec<&Ruleset> = wanted
                    .iter()
                    .filter(|(_, v)| *v == variant)
                    .map(|(ruleset, _)| *ruleset)
                    .collect();
                for family in Family::ALL {
                    let program = Program { variant, family };
                    let wanted = State::wanted(&wanted, family, instance)?;
                    let standing = look(program, instance)?;
                    steps.push(Step {
                        program,
                        standing,
                        wanted,
                    });
                }
            }
            apply(&steps, instance)
        })?
        .map_err(|fault: Fault| fault.explain(&what))
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        let found = within(Domain::Iptables, netns, || {
            let mut found = Vec::new();
            for variant in [IptablesVariant::Nft, IptablesVariant::Legacy] {
                let mut owners: BTreeSet<Instance> = BTreeSet::new();
                for family in Family::ALL {
                    let program = Program { variant, family };
                    for kind in standing_tables(program)? {
                        match program.list(table_name(kind)) {
                            Ok(listing) => owners.extend(owners_in(&listing)),
                            // Without the program nobody can have made chains by it.
                            Err(ProgramError::Missing { .. }) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                found.extend(owners.into_iter().map(|instance| (variant, instance)));
            }
            Ok(found)
        })?
        .map_err(|fault: Fault| fault.explain("look for our iptables chains"))?;
        Ok(found
            .into_iter()
            .map(|(variant, instance)| Found {
                domain: Domain::Iptables,
                netns: netns.clone(),
                what: format!("{variant} chains STEER_{instance}_*"),
                instance: Some(instance),
                role: None,
            })
            .collect())
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let Found {
            domain: _,
            netns,
            instance,
            role: _,
            what,
        } = found;
        let Some(instance) = instance else {
            return Ok(());
        };
        within(Domain::Iptables, netns, || {
            let mut steps = Vec::new();
            for variant in [IptablesVariant::Nft, IptablesVariant::Legacy] {
                if !what.starts_with(&variant.to_string()) {
                    continue;
                }
                for family in Family::ALL {
                    let program = Program { variant, family };
                    let standing = look(program, instance)?;
                    steps.push(Step {
                        program,
                        standing,
                        wanted: State::default(),
                    });
                }
            }
            apply(&steps, instance)
        })?
        .map_err(|fault: Fault| fault.explain(&format!("remove {what}")))
    }
}

/// Checks every family's text, then applies them; a failure leads back to what stood.
fn apply(steps: &[Step], instance: &Instance) -> Result<(), Fault> {
    let texts: Vec<String> = steps
        .iter()
        .map(|step| step.standing.change_to(&step.wanted))
        .collect();
    let todo = || {
        steps
            .iter()
            .zip(&texts)
            .filter(|(_, text)| !text.is_empty())
    };
    for (step, text) in todo() {
        step.program.check(text)?;
    }
    let mut done: Vec<&Step> = Vec::new();
    for (step, text) in todo() {
        done.push(step);
        let applied = prepare(step).and_then(|()| Ok(step.program.restore(text)?));
        if let Err(fault) = applied {
            for step in done.into_iter().rev() {
                if let Err(error) = lead_back(step, instance) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "iptables rules could not be led back"
                    );
                }
            }
            return Err(fault);
        }
    }
    for step in steps {
        // The rules stand as wanted; an empty table that stays harms nobody.
        if let Err(error) = tidy(step.program) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an empty table of iptables stays"
            );
        }
    }
    Ok(())
}

/// Undoes a step that may have been applied in part: a text is a transaction for each table.
fn lead_back(step: &Step, instance: &Instance) -> Result<(), Fault> {
    let text = look(step.program, instance)?.change_to(&step.standing);
    if !text.is_empty() {
        step.program.restore(&text)?;
    }
    tidy(step.program)
}

/// What of an instance stands in the tables of a program.
fn look(program: Program, instance: &Instance) -> Result<State, Fault> {
    let mut state = State::default();
    for kind in standing_tables(program)? {
        state.read(kind, &program.list(table_name(kind))?, instance);
    }
    Ok(state)
}

/// The tables that stand; listing another one would make the kernel bring it up.
fn standing_tables(program: Program) -> Result<Vec<ChainKind>, Fault> {
    let Program { variant, family } = program;
    match variant {
        IptablesVariant::Nft => Ok(compat::standing(&mut netlink()?, family)?),
        IptablesVariant::Legacy => {
            // Of this thread, which may be in another namespace than the process.
            let path = match family {
                Family::V4 => "/proc/thread-self/net/ip_tables_names",
                Family::V6 => "/proc/thread-self/net/ip6_tables_names",
            };
            let names = match fs::read_to_string(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                other => other.map_err(Fault::Names)?,
            };
            let kinds = [ChainKind::Filter, ChainKind::Nat, ChainKind::Route];
            Ok(kinds
                .into_iter()
                .filter(|kind| names.lines().any(|name| name == table_name(*kind)))
                .collect())
        }
    }
}

fn prepare(step: &Step) -> Result<(), Fault> {
    let Program { variant, family } = step.program;
    if variant == IptablesVariant::Nft && !step.wanted.is_empty() {
        let wanted: Vec<(ChainKind, Hook)> = step
            .wanted
            .hooks()
            .filter_map(|(kind, name)| {
                let hook = Hook::ALL
                    .into_iter()
                    .find(|hook| hook_name(*hook) == name)?;
                Some((kind, hook))
            })
            .collect();
        compat::prepare(&mut netlink()?, family, &wanted)?;
    }
    Ok(())
}

fn tidy(program: Program) -> Result<(), Fault> {
    let Program { variant, family } = program;
    match variant {
        IptablesVariant::Nft => Ok(compat::tidy(&mut netlink()?, family)?),
        // An empty legacy table cannot be removed.
        IptablesVariant::Legacy => Ok(()),
    }
}

fn netlink() -> Result<Netlink, Refused> {
    Ok(Netlink::open()?)
}

fn owners_in(listing: &str) -> impl Iterator<Item = Instance> {
    let chains = listing.lines().filter_map(|line| line.strip_prefix("-N "));
    chains.filter_map(owner)
}

fn rulesets(objects: &[Object]) -> Result<Vec<(&Ruleset, IptablesVariant)>, DriverError> {
    objects
        .iter()
        .map(|object| match object {
            Object::Iptables(ruleset, variant) => Ok((ruleset, *variant)),
            other => Err(DriverError::new(
                Domain::Iptables,
                format!("the iptables driver cannot make {other}"),
                MISTAKE,
            )),
        })
        .collect()
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Unrenderable(#[from] Unrenderable),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the names of the tables cannot be read")]
    Names(#[source] io::Error),
}

impl Fault {
    fn explain(self, what: &str) -> DriverError {
        let help = match &self {
            Self::Program(error) => error.help(),
            Self::Unrenderable(_) => MISTAKE,
            Self::Refused(Refused::Raced) => {
                "another program keeps changing the rules; find it with nft monitor, then try again"
            }
            Self::Refused(Refused::Message { .. } | Refused::Socket(_)) | Self::Names(_) => {
                "run as root, or give the program the capability CAP_NET_ADMIN"
            }
        };
        DriverError::new(Domain::Iptables, format!("could not {what}"), help).because(self)
    }
}

const MISTAKE: &str = "this is a mistake in steer: please report it with the output of steer plan";
