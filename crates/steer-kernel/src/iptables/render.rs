//! Rules as iptables arguments: each alternative that iptables cannot list becomes a rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::{Family, IdRange, PortRange, Protocol};
use steer_core::mark::Mark;
use steer_core::ruleset::{Rule, Test, Verdict};
use steer_core::symbol::{CgroupRef, MarkRef, PortRef};

/// Why a rule has no form in iptables.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unrenderable {
    #[error("{what} needs a test of the protocol before it: {rule}")]
    NoProtocol { what: &'static str, rule: String },
    #[error("{symbol} has no value: {rule}")]
    Unbound { symbol: String, rule: String },
    #[error("iptables cannot ask whether a packet is {what}: {rule}")]
    Unasked { what: &'static str, rule: String },
    #[error("no interface can be called {name:?} in iptables: {rule}")]
    Interface { name: String, rule: String },
    #[error("{what} has no place in the chain {hook} of the table {table}: {rule}")]
    Place {
        what: &'static str,
        table: &'static str,
        hook: &'static str,
        rule: String,
    },
}

/// The arguments of a rule behind `-A CHAIN`, a line for each alternative; none where the rule
/// cannot match in the family.
///
/// A target that marks goes on with the next rule, so what marks and accepts is a chain of its
/// own, whose name `marking` tells.
pub(crate) fn lines(
    rule: &Rule,
    family: Family,
    chain_name: &dyn Fn(&str) -> String,
    marking: &mut dyn FnMut(Mark) -> String,
) -> Result<Vec<String>, Unrenderable> {
    let mut protocol = None;
    // Each test is a list of alternatives; a rule is one choice of each.
    let mut choices: Vec<Vec<String>> = Vec::new();
    for test in &rule.tests {
        let alternatives = match test {
            Test::Family(only) if *only != family => return Ok(Vec::new()),
            Test::Family(_) => continue,
            Test::Protocol(one) => {
                match protocol {
                    Some(other) if other != *one => return Ok(Vec::new()),
                    Some(_) => continue,
                    None => protocol = Some(*one),
                }
                vec![format!("-p {one} -m {one}")]
            }
            Test::Opening => {
                let flags = "--tcp-flags FIN,SYN,RST,ACK SYN";
                match protocol {
                    Some(Protocol::Udp) => return Ok(Vec::new()),
                    Some(Protocol::Tcp) => vec![flags.to_owned()],
                    None => {
                        protocol = Some(Protocol::Tcp);
                        vec![format!("-p tcp -m tcp {flags}")]
                    }
                }
            }
            Test::To(nets) => {
                let nets: Vec<_> = nets.iter().filter(|net| net.family() == family).collect();
                if nets.iter().any(|net| net.prefix() == 0) {
                    continue;
                }
                // A comma list makes iptables expand the rule itself; one line each keeps
                // what is written and what is listed the same.
                nets.iter().map(|net| format!("-d {net}")).collect()
            }
            Test::ToNames(names, _) => return Err(unbound(names, rule)),
            Test::ToPort(ports) => {
                needs(protocol.is_some(), "a port", rule)?;
                port_lists(ports)
            }
            Test::ToListener(port) => {
                needs(protocol.is_some(), "a port", rule)?;
                vec![format!("--dport {}", number(port, rule)?)]
            }
            Test::Cgroup(CgroupRef::Path(path)) => {
                vec![format!("-m cgroup --path {}", quoted(path))]
            }
            Test::Cgroup(cgroup @ CgroupRef::Command) => {
                return Err(unbound(cgroup, rule));
            }
            Test::Uid(list) => ids("-m owner --uid-owner", list),
            Test::Gid(list) => ids("-m owner --gid-owner", list),
            Test::Marked(mark) => vec![format!("-m mark --mark {}", bits(*mark, rule)?)],
            Test::Tracked(mark) => vec![format!("-m connmark --mark {}", bits(*mark, rule)?)],
            Test::From(names) => interfaces("-i", names, rule)?,
            Test::Into(names) => interfaces("-o", names, rule)?,
            Test::ToThisHost => vec!["-m addrtype --dst-type LOCAL".to_owned()],
            Test::ToBroadcast if family == Family::V6 => return Ok(Vec::new()),
            Test::ToBroadcast => vec!["-m addrtype --dst-type BROADCAST".to_owned()],
            Test::Echo(only) if *only != family => return Ok(Vec::new()),
            Test::Echo(Family::V4) => vec!["-p icmp -m icmp --icmp-type 8".to_owned()],
            Test::Echo(Family::V6) => vec!["-p ipv6-icmp -m icmp6 --icmpv6-type 128".to_owned()],
            Test::Transparent => vec!["-m socket --transparent".to_owned()],
            Test::Ordinary => {
                return Err(Unrenderable::Unasked {
                    what: "for an ordinary socket",
                    rule: rule.to_string(),
                });
            }
            Test::FromOpener => vec!["-m conntrack --ctdir ORIGINAL".to_owned()],
            Test::ToOpener => vec!["-m conntrack --ctdir REPLY".to_owned()],
            Test::RewrittenTo(port) => {
                needs(protocol.is_some(), "a port", rule)?;
                let port = number(port, rule)?;
                vec![format!(
                    "-m conntrack --ctstate DNAT --ctreplsrcport {port}"
                )]
            }
            Test::Rewritten => vec!["-m conntrack --ctstate DNAT".to_owned()],
        };
        choices.push(alternatives);
    }
    if let (Verdict::Reset, None) = (&rule.verdict, protocol) {
        choices.push(vec!["-p tcp -m tcp".to_owned()]);
    }
    if let (Verdict::Redirect(_), None) = (&rule.verdict, protocol) {
        needs(false, "redirect", rule)?;
    }
    let verdict = match &rule.verdict {
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Jump(chain) => format!("-j {}", chain_name(chain)),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {}", number(port, rule)?),
        Verdict::Reset => "-j REJECT --reject-with tcp-reset".to_owned(),
        Verdict::Prohibit => match family {
            Family::V4 => "-j REJECT --reject-with icmp-admin-prohibited".to_owned(),
            Family::V6 => "-j REJECT --reject-with icmp6-adm-prohibited".to_owned(),
        },
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Track(mark) => format!("-j CONNMARK --set-xmark {}", bits(*mark, rule)?),
        Verdict::Mark(mark) => format!("-j {}", marking(bits(*mark, rule)?)),
        Verdict::Tproxy { to, mark, dead: _ } => {
            needs(protocol.is_some(), "tproxy", rule)?;
            let (port, mark) = (number(to, rule)?, bits(*mark, rule)?);
            let ip = match family {
                Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
                Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            format!("-j TPROXY --on-port {port} --on-ip {ip} --tproxy-mark {mark}")
        }
    };
    let end = format!("{}{verdict}", comment(&rule.why));
    let mut lines = vec![String::new()];
    for alternatives in &choices {
        lines = lines
            .iter()
            .flat_map(|line| alternatives.iter().map(move |one| format!("{line}{one} ")))
            .collect();
    }
    Ok(lines.into_iter().map(|line| line + &end).collect())
}

/// A comment as a match, with a space behind it; nothing for no text.
pub(crate) fn comment(text: &str) -> String {
    let mut end = text.len().min(COMMENT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match &text[..end] {
        "" => String::new(),
        text => format!("-m comment --comment {} ", quoted(text)),
    }
}

/// A word that `iptables-restore` reads as one.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            // Apostrophes and line ends are read by no version alike.
            '\'' => out.push('`'),
            '\n' | '\r' => out.push(' '),
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Port tests, each within what `multiport` holds: 15 numbers, of which a range takes two.
fn port_lists(ports: &[PortRange]) -> Vec<String> {
    let mut lists: Vec<(usize, Vec<String>)> = Vec::new();
    for range in ports {
        let (weight, text) = if range.first() == range.last() {
            (1, range.first().to_string())
        } else {
            (2, format!("{}:{}", range.first(), range.last()))
        };
        match lists.last_mut() {
            Some((used, list)) if *used + weight <= MULTIPORT_MAX => {
                *used += weight;
                list.push(text);
            }
            _ => lists.push((weight, vec![text])),
        }
    }
    lists
        .into_iter()
        .map(|(_, list)| match list.as_slice() {
            [one] => format!("--dport {one}"),
            many => format!("-m multiport --dports {}", many.join(",")),
        })
        .collect()
}

fn ids(option: &str, list: &[IdRange]) -> Vec<String> {
    list.iter()
        .map(|range| {
            if range.first() == range.last() {
                format!("{option} {}", range.first())
            } else {
                format!("{option} {}-{}", range.first(), range.last())
            }
        })
        .collect()
}

/// Interfaces, of which a rule can name one; a `+` at the end would stand for any end.
fn interfaces(option: &str, names: &[String], rule: &Rule) -> Result<Vec<String>, Unrenderable> {
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let is_name = (1..=IFNAME_MAX).contains(&name.len())
            && !name.ends_with('+')
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if !is_name {
            return Err(Unrenderable::Interface {
                name: name.clone(),
                rule: rule.to_string(),
            });
        }
        out.push(format!("{option} {}", quoted(name)));
    }
    Ok(out)
}

fn bits(mark: MarkRef, rule: &Rule) -> Result<Mark, Unrenderable> {
    mark.bits().ok_or_else(|| unbound(&mark, rule))
}

fn number(port: &PortRef, rule: &Rule) -> Result<u16, Unrenderable> {
    port.number().ok_or_else(|| unbound(port, rule))
}

fn unbound(symbol: &dyn std::fmt::Display, rule: &Rule) -> Unrenderable {
    Unrenderable::Unbound {
        symbol: symbol.to_string(),
        rule: rule.to_string(),
    }
}

fn needs(holds: bool, what: &'static str, rule: &Rule) -> Result<(), Unrenderable> {
    match holds {
        true => Ok(()),
        false => Err(Unrenderable::NoProtocol {
            what,
            rule: rule.to_string(),
        }),
    }
}

const MULTIPORT_MAX: usize = 15;
const COMMENT_MAX: usize = 255;
/// Bytes of an interface's name.
const IFNAME_MAX: usize = 15;

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
