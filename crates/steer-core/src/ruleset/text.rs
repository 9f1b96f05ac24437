//! Rules as a plan shows them.

use std::fmt;

use super::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use crate::intent::OnFailure;

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steer => "steer",
            Self::Guard => "guard",
        })
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, chain) in self.chains.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{chain}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {}", self.name)?;
        if let Some(Base {
            kind,
            hook,
            priority,
        }) = self.base
        {
            let kind = match kind {
                ChainKind::Filter => "filter",
                ChainKind::Nat => "nat",
                ChainKind::Route => "route",
            };
            let hook = match hook {
                Hook::Prerouting => "prerouting",
                Hook::Input => "input",
                Hook::Forward => "forward",
                Hook::Output => "output",
                Hook::Postrouting => "postrouting",
            };
            write!(f, " ({kind} {hook}, priority {priority})")?;
        }
        for rule in &self.rules {
            write!(f, "\n  {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            write!(f, "{test} ")?;
        }
        write!(f, "{}   # {}", self.verdict, self.why)
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, key: &str, items: &[T]) -> fmt::Result {
    match items {
        [one] => write!(f, "{key} {one}"),
        _ => {
            write!(f, "{key} {{")?;
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i == 0 { " " } else { ", " })?;
            }
            write!(f, " }}")
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family(family) => family.fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Opening => f.write_str("opening"),
            Self::To(nets) => list(f, "to", nets),
            Self::ToPort(ports) => list(f, "port", ports),
            Self::ToListener(port) => write!(f, "port {port}"),
            Self::Cgroup(cgroup) => write!(f, "cgroup {cgroup}"),
            Self::Uid(ids) => list(f, "uid", ids),
            Self::Gid(ids) => list(f, "gid", ids),
            Self::ToNames(names, family) => write!(f, "{family} to {names}"),
            Self::Marked(mark) => write!(f, "mark {mark}"),
            Self::Tracked(mark) => write!(f, "connection mark {mark}"),
            Self::From(interfaces) => list(f, "from", interfaces),
            Self::Into(interfaces) => list(f, "into", interfaces),
            Self::ToThisHost => f.write_str("to this host"),
            Self::ToBroadcast => f.write_str("to a broadcast address"),
            Self::Echo(family) => write!(f, "{family} echo request"),
            Self::Transparent => f.write_str("of a transparent socket"),
            Self::Ordinary => f.write_str("for an ordinary socket"),
            Self::FromOpener => f.write_str("from the opener"),
            Self::ToOpener => f.write_str("to the opener"),
            Self::Rewritten => f.write_str("rewritten"),
            Self::RewrittenTo(port) => write!(f, "rewritten to :{port}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("-> return"),
            Self::Jump(chain) => write!(f, "-> jump {chain}"),
            Self::Redirect(port) => write!(f, "-> redirect to :{port}"),
            Self::Reset => f.write_str("-> reject with tcp reset"),
            Self::Prohibit => f.write_str("-> reject as prohibited"),
            Self::Drop => f.write_str("-> drop"),
            Self::Track(mark) => write!(f, "-> connection mark {mark}, go on"),
            Self::Mark(mark) => write!(f, "-> mark {mark}"),
            // What becomes of it where nobody listens, not every packet filter has a choice in.
            Self::Tproxy { to, mark, dead } => {
                write!(f, "-> tproxy to :{to} mark {mark}")?;
                match dead {
                    OnFailure::Open => f.write_str(", if anyone listens"),
                    OnFailure::Closed => Ok(()),
                }
            }
        }
    }
}
