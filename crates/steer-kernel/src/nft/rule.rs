//! Rules, test by test, compiled to instructions.

use steer_core::address::{Family, Protocol};
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_core::ruleset::{Rule, Test, Verdict};
use steer_core::symbol::{CgroupRef, MarkRef, PortRef};

use crate::cgroup::CgroupError;

use super::NFPROTO_INET;
use super::expr::{Field, IFNAMSIZ, Marked, Meta, Program};
use super::set::{Intervals, Key, Sets, push_names};
use super::socket::Batch;
use super::table::{RULE_TABLE, udata_text};
use super::wire::{Attrs, NLM_F_APPEND, NLM_F_CREATE, Request};

/// Where a cgroup is, as the kernel's rules know it: its depth and its id.
pub(crate) type Cgroups<'a> = dyn FnMut(&str) -> Result<(u32, u64), Unrenderable> + 'a;

/// Why a rule has no form in nf_tables.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unrenderable {
    #[error("chain {chain}: {what} needs a test of the protocol before it")]
    NoProtocol { chain: String, what: &'static str },
    #[error("chain {chain}: a list of networks mixes families")]
    Mixed { chain: String },
    #[error("chain {chain}: {symbol} has no value")]
    Unbound { chain: String, symbol: String },
    #[error("chain {chain}: no interface can be called {name:?}")]
    Interface { chain: String, name: String },
    #[error(transparent)]
    Cgroup(CgroupError),
}

/// Compiles one rule, and gathers the sets that it looks up.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    table: &'a str,
    chain: &'a str,
    batch: &'a mut Batch,
    sets: &'a mut Sets,
    program: Program,
    family: Option<Family>,
    protocol: Option<Protocol>,
}

impl<'a> Compiler<'a> {
    /// A compiler of one rule, whose `sets` have to stand before the batch is applied.
    pub(crate) fn new(
        table: &'a str,
        chain: &'a str,
        batch: &'a mut Batch,
        sets: &'a mut Sets,
    ) -> Self {
        Self {
            table,
            chain,
            batch,
            sets,
            program: Program::default(),
            family: None,
            protocol: None,
        }
    }

    /// Adds the rule; `only` binds it to a family where no test of its own does.
    pub(crate) fn rule(
        mut self,
        rule: &Rule,
        only: Option<Family>,
        cgroups: &mut Cgroups<'_>,
    ) -> Result<(), Unrenderable> {
        if let (Verdict::Tproxy { .. }, None, None) = (&rule.verdict, only, rule.family()) {
            // The address to look for a listener at is of one family: a rule for each.
            for family in Family::ALL {
                let compiler =
                    Compiler::new(self.table, self.chain, &mut *self.batch, &mut *self.sets);
                compiler.rule(rule, Some(family), cgroups)?;
            }
            return Ok(());
        }
        if let (Some(family), None) = (only, rule.family()) {
            self.need_family(family);
        }
        for test in &rule.tests {
            self.test(test, cgroups)?;
        }
        self.verdict(&rule.verdict)?;
        push_rule(
            self.batch,
            (self.table, self.chain),
            self.program,
            &rule.why,
            &rule.to_string(),
        );
        Ok(())
    }

    fn test(&mut self, test: &Test, cgroups: &mut Cgroups<'_>) -> Result<(), Unrenderable> {
        match test {
            Test::Family(family) => self.need_family(*family),
            Test::Protocol(protocol) => self.need_protocol(*protocol),
            Test::Opening => {
                self.need_protocol(Protocol::Tcp);
                self.program.opening();
            }
            Test::To(nets) => {
                let family = nets.first().map_or(Family::V4, |net| net.family());
                if nets.iter().any(|net| net.family() != family) {
                    return Err(Unrenderable::Mixed {
                        chain: self.chain.to_owned(),
                    });
                }
                self.need_family(family);
                self.destination(&Intervals::of_networks(family, nets), family);
            }
            Test::ToNames(names, _) => return Err(self.unbound(names)),
            Test::ToPort(ports) => {
                self.after_protocol("a port")?;
                self.port(&Intervals::of_ports(ports));
            }
            Test::ToListener(port) => {
                self.after_protocol("a port")?;
                let port = self.port_number(port)?;
                self.program.payload(Field::DESTINATION_PORT);
                self.program.equals(&port.to_be_bytes());
            }
            Test::Cgroup(CgroupRef::Path(path)) => {
                let (level, id) = cgroups(path)?;
                self.program.cgroup_is(level, id);
            }
            Test::Cgroup(cgroup @ CgroupRef::Command) => {
                return Err(self.unbound(cgroup));
            }
            Test::Uid(ids) => self.id(Meta::Uid, &Intervals::of_ids(Key::Uid, ids)),
            Test::Gid(ids) => self.id(Meta::Gid, &Intervals::of_ids(Key::Gid, ids)),
            Test::Marked(mark) => {
                let mark = self.bits(*mark)?;
                self.program.mark_holds(Marked::Packet, mark);
            }
            Test::Tracked(mark) => {
                let mark = self.bits(*mark)?;
                self.program.mark_holds(Marked::Connection, mark);
            }
            Test::From(interfaces) => self.interfaces(Meta::Interface, interfaces)?,
            Test::Into(interfaces) => self.interfaces(Meta::Leaving, interfaces)?,
            Test::ToThisHost => self.program.destined_here(),
            Test::ToBroadcast => {
                self.need_family(Family::V4);
                self.program.destined_to_everyone();
            }
            Test::Echo(family) => {
                self.need_family(*family);
                self.program.echo_request(*family);
            }
            Test::Transparent => self.program.of_transparent_socket(),
            Test::Ordinary => self.program.of_ordinary_socket(),
            Test::FromOpener => self.program.sent_by_opener(),
            Test::ToOpener => self.program.sent_to_opener(),
            Test::Rewritten => self.program.rewritten(),
            Test::RewrittenTo(port) => {
                self.after_protocol("a port")?;
                let port = self.port_number(port)?;
                self.program.rewritten();
                self.program.answered_from(port);
            }
        }
        Ok(())
    }

    fn verdict(&mut self, verdict: &Verdict) -> Result<(), Unrenderable> {
        match verdict {
            Verdict::Return => self.program.leave_chain(),
            Verdict::Jump(chain) => self.program.jump(chain),
            Verdict::Redirect(port) => {
                self.after_protocol("redirect")?;
                let port = self.port_number(port)?;
                self.program.redirect(port);
            }
            Verdict::Reset => {
                self.need_protocol(Protocol::Tcp);
                self.program.reset();
            }
            Verdict::Prohibit => self.program.prohibit(),
            Verdict::Drop => self.program.drop_it(),
            Verdict::Track(mark) => {
                let mark = self.bits(*mark)?;
                self.program.set_mark(Marked::Connection, mark);
            }
            Verdict::Mark(mark) => {
                let mark = self.bits(*mark)?;
                self.program.set_mark(Marked::Packet, mark);
                self.program.accept();
            }
            Verdict::Tproxy { to, mark, dead } => {
                self.after_protocol("tproxy")?;
                let (port, mark) = (self.port_number(to)?, self.bits(*mark)?);
                let family = self
                    .family
                    .expect("a tproxy rule is compiled for one family");
                // Without a listener the rule ends at the tproxy, and so with what stands before.
                if *dead == OnFailure::Closed {
                    self.program.set_mark(Marked::Packet, mark);
                }
                self.program.tproxy(family, port);
                if *dead == OnFailure::Open {
                    self.program.set_mark(Marked::Packet, mark);
                }
                self.program.accept();
            }
        }
        Ok(())
    }

    fn interfaces(&mut self, which: Meta, names: &[String]) -> Result<(), Unrenderable> {
        let mut padded = Vec::with_capacity(names.len());
        for name in names {
            let mut bytes = [0; IFNAMSIZ];
            if name.is_empty() || name.len() >= IFNAMSIZ {
                return Err(Unrenderable::Interface {
                    chain: self.chain.to_owned(),
                    name: name.clone(),
                });
            }
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            padded.push(bytes);
        }
        padded.sort_unstable();
        padded.dedup();
        self.program.meta(which);
        if let [name] = padded.as_slice() {
            self.program.equals(name);
        } else {
            let number = self.sets.number();
            push_names(&padded, self.batch, self.table, number);
            self.program.in_own_set(number);
        }
        Ok(())
    }

    fn destination(&mut self, nets: &Intervals, family: Family) {
        if nets.is_everything() {
            return;
        }
        let bits = family.bits();
        if let [(first, last)] = *nets.ranges() {
            let prefix = bits - u8::try_from((last - first + 1).ilog2()).unwrap_or(bits);
            let is_network = (last - first + 1).is_power_of_two() && first & (last - first) == 0;
            let value = nets.key.bytes(first);
            if is_network && prefix.is_multiple_of(8) {
                // As short a load as the prefix: the rest of the address does not matter.
                let length = usize::from(prefix / 8);
                self.program
                    .payload(Field::destination(family, length as u32));
                self.program.equals(&value[..length]);
                return;
            }
            self.program
                .payload(Field::destination(family, u32::from(bits / 8)));
            if is_network {
                self.program
                    .masked(&nets.key.bytes(!(last - first) & nets.key.max()));
                self.program.equals(&value);
            } else {
                self.program.within(&value, &nets.key.bytes(last));
            }
            return;
        }
        self.program
            .payload(Field::destination(family, u32::from(bits / 8)));
        self.in_set(nets);
    }

    fn port(&mut self, ports: &Intervals) {
        self.program.payload(Field::DESTINATION_PORT);
        match *ports.ranges() {
            [(first, last)] if first == last => self.program.equals(&ports.key.bytes(first)),
            [(first, last)] => self
                .program
                .within(&ports.key.bytes(first), &ports.key.bytes(last)),
            _ => self.in_set(ports),
        }
    }

    fn id(&mut self, meta: Meta, ids: &Intervals) {
        self.program.meta(meta);
        match *ids.ranges() {
            [(first, last)] if first == last => {
                let id = u32::try_from(first).expect("ids have 32 bits");
                self.program.equals(&id.to_ne_bytes());
            }
            [(first, last)] => {
                self.program.network_order();
                self.program
                    .within(&ids.key.bytes(first), &ids.key.bytes(last));
            }
            _ => {
                self.program.network_order();
                self.in_set(ids);
            }
        }
    }

    fn in_set(&mut self, intervals: &Intervals) {
        self.program.in_set(&self.sets.name(intervals));
    }

    /// An address has its place in the packet only once the family is known.
    fn need_family(&mut self, family: Family) {
        if self.family != Some(family) {
            self.program.family_is(family);
            self.family = Some(family);
        }
    }

    fn need_protocol(&mut self, protocol: Protocol) {
        if self.protocol != Some(protocol) {
            self.program.protocol_is(protocol);
            self.protocol = Some(protocol);
        }
    }

    fn after_protocol(&self, what: &'static str) -> Result<(), Unrenderable> {
        match self.protocol {
            Some(_) => Ok(()),
            None => Err(Unrenderable::NoProtocol {
                chain: self.chain.to_owned(),
                what,
            }),
        }
    }

    fn port_number(&self, port: &PortRef) -> Result<u16, Unrenderable> {
        port.number().ok_or_else(|| self.unbound(port))
    }

    fn bits(&self, mark: MarkRef) -> Result<Mark, Unrenderable> {
        mark.bits().ok_or_else(|| self.unbound(&mark))
    }

    fn unbound(&self, symbol: &dyn std::fmt::Display) -> Unrenderable {
        Unrenderable::Unbound {
            chain: self.chain.to_owned(),
            symbol: symbol.to_string(),
        }
    }
}

/// Adds a rule that is already compiled, with its reason.
pub(crate) fn push_program(
    batch: &mut Batch,
    table: &str,
    chain: &str,
    program: Program,
    why: &str,
) {
    push_rule(batch, (table, chain), program, why, why);
}

fn push_rule(
    batch: &mut Batch,
    (table, chain): (&str, &str),
    program: Program,
    why: &str,
    name: &str,
) {
    let mut attrs = Attrs::new();
    attrs
        .text(RULE_TABLE, table)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, |nest| nest.append(&program.into_attrs()))
        .bytes(RULE_USERDATA, &udata_text(UDATA_RULE_COMMENT, why));
    batch.push(
        Request::nft(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET, attrs),
        format!("add to chain {table} {chain}: {name}"),
    );
}

/// Whether any packet can pass: a list without entries never holds.
pub(crate) fn can_hold(rule: &Rule) -> bool {
    rule.tests.iter().all(|test| match test {
        Test::To(list) => !list.is_empty(),
        Test::ToPort(list) => !list.is_empty(),
        Test::Uid(list) | Test::Gid(list) => !list.is_empty(),
        Test::From(list) | Test::Into(list) => !list.is_empty(),
        Test::Family(_)
        | Test::Protocol(_)
        | Test::Opening
        | Test::ToNames(..)
        | Test::ToListener(_)
        | Test::Cgroup(_)
        | Test::Marked(_)
        | Test::Tracked(_)
        | Test::ToThisHost
        | Test::ToBroadcast
        | Test::Echo(_)
        | Test::Transparent
        | Test::Ordinary
        | Test::FromOpener
        | Test::ToOpener
        | Test::Rewritten
        | Test::RewrittenTo(_) => true,
    })
}

const UDATA_RULE_COMMENT: u8 = 0;
const NEWRULE: u16 = 6;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
