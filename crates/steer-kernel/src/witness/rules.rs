//! The table of a witness: what it counts, and where.

use steer_core::address::Family;
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook};

use super::Boundary;
use crate::nft::NFPROTO_INET;
use crate::nft::expr::{Marked, Program};
use crate::nft::rule::push_program;
use crate::nft::set::Counts;
use crate::nft::socket::Batch;
use crate::nft::table::{TABLE_OWNER, push_chain, push_create};

/// The set with all that was seen.
pub(super) const COUNTED: &str = "counted";
/// The set with all that left, which has room for every protocol.
pub(super) const LEFT: &str = "left";

/// The set with the destinations of what left.
pub(super) const fn destinations(family: Family) -> &'static str {
    match family {
        Family::V4 => "left_ipv4",
        Family::V6 => "left_ipv6",
    }
}

/// Adds the table, its sets, and the chain that counts what leaves.
pub(super) fn push_table(batch: &mut Batch, instance: &Instance, table: &str) {
    let comment = format!("steer {} {instance} witness", env!("CARGO_PKG_VERSION"));
    push_create(batch, NFPROTO_INET, table, &comment, TABLE_OWNER);
    Counts::Protocol.push(batch, table, COUNTED, 1);
    Counts::Protocol.push(batch, table, LEFT, 2);
    for (id, family) in (3..).zip(Family::ALL) {
        Counts::Destination(family).push(batch, table, destinations(family), id);
    }
    make_chain(batch, table, LEAVING, None);
    rule(batch, table, LEAVING, "all that leaves", |program| {
        program.count_protocol(LEFT);
    });
    for family in Family::ALL {
        for protocol in WITH_PORTS {
            rule(batch, table, LEAVING, "by destination", |program| {
                program.family_is(family);
                program.protocol_number_is(protocol);
                program.count_port(family, destinations(family));
                program.leave_chain();
            });
        }
        rule(batch, table, LEAVING, "by destination", |program| {
            program.family_is(family);
            program.count_destination(family, destinations(family));
        });
    }
}

/// Adds what counts the packets of a cgroup, known by its level and id.
///
/// A packet's socket is looked at where it is sent, behind all that rewrites, marks or refuses it
/// there. Rewritten packets may have been routed again since the hook began, so it is their
/// destination that says whether they leave. Those that are marked for the engine keep theirs: they
/// leave where they do so by an interface.
pub(super) fn of_cgroup(
    batch: &mut Batch,
    table: &str,
    (level, id): (u32, u64),
    steered: Option<Mark>,
) {
    const SENT: &str = "sent";
    make_chain(batch, table, SENT, None);
    rule(batch, table, SENT, "all that is sent", |program| {
        program.count_protocol(COUNTED);
    });
    rule(batch, table, SENT, "for this host", |program| {
        program.destined_here();
        program.leave_chain();
    });
    for family in Family::ALL {
        rule(batch, table, SENT, "for groups of this host", |program| {
            program.family_is(family);
            program.leaves_by("lo");
            program.destined_to_group(family);
            program.leave_chain();
        });
    }
    if let Some(mark) = steered {
        rule(batch, table, SENT, "for the engine", |program| {
            program.mark_holds(Marked::Packet, mark);
            program.leave_chain();
        });
        make_chain(batch, table, STRAYING, Some(Hook::Postrouting));
        let why = "for the engine, and routed elsewhere";
        rule(batch, table, STRAYING, why, |program| {
            program.mark_holds(Marked::Packet, mark);
            program.leaves_not_by("lo");
            program.jump(LEAVING);
        });
    }
    rule(batch, table, SENT, "what leaves", |program| {
        program.jump(LEAVING);
    });
    make_chain(batch, table, SENDING, Some(Hook::Output));
    rule(batch, table, SENDING, "of the command", |program| {
        program.cgroup_is(level, id);
        program.jump(SENT);
    });
}

/// Adds what counts the packets of a whole namespace.
pub(super) fn of_namespace(batch: &mut Batch, table: &str, boundary: &Boundary<'_>) {
    // Before anybody refuses them: what was tried is what counts.
    make_chain_at(batch, table, SENDING, Hook::Output, i32::MIN);
    rule(batch, table, SENDING, "all that is sent", |program| {
        program.count_protocol(COUNTED);
    });
    match boundary {
        Boundary::Interface { own } => {
            make_chain(batch, table, STRAYING, Some(Hook::Postrouting));
            for name in *own {
                rule(batch, table, STRAYING, "for the engine", |program| {
                    program.leaves_by(name);
                    program.leave_chain();
                });
            }
            rule(batch, table, STRAYING, "what leaves", |program| {
                program.leaves_not_by("lo");
                program.jump(LEAVING);
            });
        }
        Boundary::Destination { own, bypass } => {
            rule(batch, table, SENDING, "the engine's own", |program| {
                program.mark_holds(Marked::Packet, *bypass);
                program.leave_chain();
            });
            for ip in *own {
                let family = Family::of(*ip);
                rule(batch, table, SENDING, "an own address", |program| {
                    program.family_is(family);
                    program.destined_to(*ip);
                    program.leave_chain();
                });
            }
            for family in Family::ALL {
                rule(batch, table, SENDING, "loopback", |program| {
                    program.family_is(family);
                    program.destined_to_loopback(family);
                    program.leave_chain();
                });
            }
            // By the kernel, to the engine whose datagram came when the program had gone. Programs
            // need a privilege to send such.
            for family in Family::ALL {
                rule(batch, table, SENDING, "answers to nobody", |program| {
                    program.tells_of_unreachable(family);
                    program.leave_chain();
                });
            }
            rule(batch, table, SENDING, "past the boundary", |program| {
                program.jump(LEAVING);
            });
        }
    }
}

fn make_chain(batch: &mut Batch, table: &str, name: &str, hook: Option<Hook>) {
    match hook {
        Some(hook) => make_chain_at(batch, table, name, hook, LAST),
        None => push(batch, table, name, None),
    }
}

fn make_chain_at(batch: &mut Batch, table: &str, name: &str, hook: Hook, priority: i32) {
    let base = Base {
        kind: ChainKind::Filter,
        hook,
        priority,
    };
    push(batch, table, name, Some(base));
}

fn push(batch: &mut Batch, table: &str, name: &str, base: Option<Base>) {
    let chain = Chain {
        name: name.to_owned(),
        base,
        rules: Vec::new(),
    };
    push_chain(batch, table, &chain);
}

fn rule(batch: &mut Batch, table: &str, chain: &str, why: &str, fill: impl FnOnce(&mut Program)) {
    let mut program = Program::default();
    fill(&mut program);
    push_program(batch, table, chain, program, why);
}

const LEAVING: &str = "leaving";
const SENDING: &str = "sending";
const STRAYING: &str = "straying";
/// Behind everybody's chains, so that only packets that nobody refuses are counted.
const LAST: i32 = i32::MAX;
/// TCP, UDP, DCCP, SCTP and UDP-Lite, whose first bytes are the ports.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
