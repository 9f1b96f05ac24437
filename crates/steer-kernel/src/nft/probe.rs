//! What the kernel has, found out without a change.

use nix::errno::Errno;
use steer_core::address::{Family, Protocol};
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_core::ruleset::{Chain, Rule, Test, Verdict};
use steer_core::symbol::{MarkRef, PortRef};

use super::NFPROTO_INET;
use super::rule::Compiler;
use super::set::Sets;
use super::socket::{Batch, Netlink, Refused};
use super::table::{push_chain, push_create, push_delete};
use super::wire::{Attrs, Request};

/// Whether a part of the kernel is there.
#[derive(Debug)]
pub(crate) enum Answer {
    Yes,
    No,
    /// It could not be asked.
    Failed(Refused),
}

/// Whether nf_tables can hand packets to transparent sockets.
///
/// It is asked for rules in a chain that no packet enters, in a transaction whose last message
/// cannot succeed: so nothing of it ever takes effect.
pub(crate) fn transparent() -> Answer {
    let mut attempts = 0;
    loop {
        match attempt() {
            Err(Refused::Raced) if attempts < TURNS => attempts += 1,
            Err(Refused::Message { message, .. }) if message == end() => return Answer::Yes,
            Err(refused) => return read(refused),
            Ok(()) => unreachable!("a table that nobody makes cannot be deleted"),
        }
    }
}

fn attempt() -> Result<(), Refused> {
    let mut socket = Netlink::open()?;
    let generation = socket.generation()?;
    let mut batch = Batch::default();
    push_create(&mut batch, NFPROTO_INET, TABLE, "", 0);
    let chain = Chain {
        name: "probe".to_owned(),
        base: None,
        rules: Vec::new(),
    };
    push_chain(&mut batch, TABLE, &chain);
    let tproxy = Verdict::Tproxy {
        to: PortRef::Fixed(1),
        mark: MarkRef::Fixed(Mark::STEER),
        dead: OnFailure::Closed,
    };
    let rules = [
        Rule::new([Test::Protocol(Protocol::Tcp)], tproxy, ""),
        Rule::new([Test::Transparent], Verdict::Return, ""),
        Rule::new([Test::ToThisHost], Verdict::Return, ""),
    ];
    let mut sets = Sets::default();
    for rule in &rules {
        Compiler::new(TABLE, &chain.name, &mut batch, &mut sets)
            .rule(rule, None, &mut |_| unreachable!("no rule has a cgroup"))
            .expect("rules without symbols have a form");
    }
    push_delete(&mut batch, NFPROTO_INET, ABSENT);
    socket.commit(generation, &batch)
}

/// Whether the kernel has an extension of iptables, as iptables-nft asks it.
pub(crate) fn extension(family: Family, name: &str, kind: Extension, revision: u32) -> Answer {
    let mut attrs = Attrs::new();
    attrs
        .text(COMPAT_NAME, name)
        .u32(COMPAT_REVISION, revision)
        .u32(COMPAT_TYPE, kind as u32);
    let request = Request {
        kind: SUBSYS_COMPAT << 8,
        flags: 0,
        family: match family {
            Family::V4 => 2,
            Family::V6 => 10,
        },
        attrs,
    };
    let asked = Netlink::open()
        .map_err(Refused::from)
        .and_then(|mut socket| socket.ask(&request, &format!("look for {name}"), |_| {}));
    match asked {
        Ok(()) => Answer::Yes,
        Err(refused) => read(refused),
    }
}

/// What an extension of iptables is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extension {
    /// Behind `-m`.
    Match = 0,
    /// Behind `-j`.
    Target = 1,
}

fn read(refused: Refused) -> Answer {
    match refused {
        Refused::Message {
            errno: Errno::ENOENT | Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP,
            ..
        } => Answer::No,
        other => Answer::Failed(other),
    }
}

/// The name of the last message of the transaction.
fn end() -> String {
    format!("delete table {ABSENT}")
}

const TABLE: &str = "steer-probe";
const ABSENT: &str = "steer-probe-end";
const TURNS: u32 = 16;
/// `NFNL_SUBSYS_NFT_COMPAT` of `linux/netfilter/nfnetlink.h`.
const SUBSYS_COMPAT: u16 = 11;
const COMPAT_NAME: u16 = 1;
const COMPAT_REVISION: u16 = 2;
const COMPAT_TYPE: u16 = 3;

#[cfg(test)]
mod tests {
    use lab::require;

    use super::*;

    #[test]
    fn an_extension_that_nobody_wrote_is_not_there() {
        require!(Root);
        let ask = |name| extension(Family::V4, name, Extension::Target, 0);
        assert!(matches!(ask("NOSUCHTARGET"), Answer::No));
        assert!(matches!(ask("REDIRECT"), Answer::Yes));
    }
}
