//! `steer run --verify`: proof, by counting, that nothing left except through the engine.

mod alone;
pub(crate) mod enclosure;

use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;

use steer::core::address::Family;
use steer::core::intent::{Intent, Scope};
use steer::core::netns::{SocketKind, SocketWish};
use steer::core::object::{Binding, Object};
use steer::core::plan::{Netns, Plan, Planned};
use steer::kernel::witness::{Boundary, Tally, Witness, interfaces};

use crate::failure::Failure;
use crate::say;
use crate::session::Session;
use crate::steering::Decided;

/// A witness of the command, in place before it starts.
#[derive(Debug)]
pub(crate) struct Verification {
    witness: Witness,
    intent: Intent,
    /// To the interfaces of the command's network, where it has one of its own.
    network: Option<OwnedFd>,
    /// The engine's interfaces there, beside `lo`.
    devices: Vec<String>,
}

/// What the witness said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing left that should not have.
    Held,
    /// Something did, or nobody knows.
    Escaped,
}

/// Sees that the command of a plan will be told from others.
pub(crate) fn enclose(decided: &mut Decided) -> Result<(), Failure> {
    // In namespaces of the command's own nothing is left alone.
    if decided.choice.plan.namespace().is_none() {
        tellable(&decided.intent)?;
    }
    enclosure::enclose(decided)
}

impl Verification {
    /// Starts to count, before the command does.
    pub(crate) fn begin(decided: &Decided, session: &Session) -> Result<Self, Failure> {
        let intent = decided.intent.clone();
        let instance = &intent.instance;
        let bindings = session.bindings();
        let mut network = None;
        let devices = devices(&decided.choice.plan);
        let witness = match (session.inside(), &bindings.command_cgroup) {
            (Some(inside), _) => {
                let open = |kind| {
                    inside.make(&netlink(kind)).map_err(|error| {
                        Failure::new(&error, "the holder of the namespaces is gone: start again")
                    })
                };
                // Asked in the end, when the holder may be another one or none.
                network = Some(open(SocketKind::Route)?);
                let names: Vec<&str> = devices.iter().map(String::as_str).collect();
                let boundary = boundary(decided, &names);
                Witness::of_namespace(instance, open(SocketKind::Filter)?, &boundary)
            }
            (None, Some(cgroup)) => {
                let marked = bindings.slot.map(|slot| slot.mark);
                Witness::of_cgroup(instance, cgroup, marked)
            }
            (None, None) => unreachable!("every command was put apart"),
        };
        Ok(Self {
            witness: witness.map_err(|error| Failure::new(&error, error.help()))?,
            network,
            devices,
            intent,
        })
    }

    /// Says on stderr what was counted.
    pub(crate) fn end(self) -> Verdict {
        let Self {
            mut witness,
            intent,
            network,
            devices,
        } = self;
        let tally = match witness.read() {
            Ok(tally) => tally,
            Err(error) => {
                say(&Failure::new(&error, error.help()));
                return Verdict::Escaped;
            }
        };
        let verdict = report(&tally, &intent);
        let others = network.map(|network| {
            let mut others = interfaces(network)?;
            others.retain(|name| !devices.contains(name));
            Ok::<_, io::Error>(others)
        });
        match others {
            None => verdict,
            Some(Ok(others)) if others.is_empty() => verdict,
            Some(Ok(others)) => {
                let list = others.join(", ");
                tell(&format_args!(
                    "not verified: the command's network has got other interfaces than lo: {list}"
                ));
                Verdict::Escaped
            }
            Some(Err(error)) => {
                say(&Failure::new(
                    &error,
                    "the interfaces of the command's network could not be listed: start again",
                ));
                Verdict::Escaped
            }
        }
    }
}

/// The devices of a plan in the command's namespaces.
fn devices(plan: &Plan) -> Vec<String> {
    let name = |planned: &Planned| match &planned.object {
        Object::Device(device) if planned.netns == Netns::New => Some(device.name.clone()),
        _ => None,
    };
    plan.objects.iter().filter_map(name).collect()
}

/// What a packet in the command's namespaces has left by: where they are the method itself, by an
/// interface that is not the engine's, of which there is none; else by going round the method.
fn boundary<'a>(decided: &'a Decided, devices: &'a [&'a str]) -> Boundary<'a> {
    let plan = &decided.choice.plan;
    let walls = |p: &Planned| match &p.object {
        Object::Listener(listener) => enclosure::is_wall(plan, listener, &p.netns),
        _ => false,
    };
    match plan.namespace() {
        Some(namespace) if plan.objects.iter().any(walls) => Boundary::Destination {
            own: &namespace.addresses,
            bypass: decided.intent.bypass,
        },
        _ => Boundary::Interface { own: devices },
    }
}

/// A socket to a part of the kernel: neither family nor address matter.
const fn netlink(kind: SocketKind) -> SocketWish {
    SocketWish {
        family: Family::V4,
        kind,
        binding: Binding::Own,
        mark: None,
        bind: None,
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
