//! Who reaches the engine's ports: only what was steered to them.

use steer_core::address::{Cidr, Family, Protocol};
use steer_core::ruleset::{Rule, Test, Verdict};

use crate::listeners::Port;

/// Where the engine's ports can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// At the loopback addresses of some families.
    Loopback(Vec<Family>),
    /// At every address.
    Anywhere,
}

impl At {
    /// The tests for a port, one list for each rule that it takes.
    pub fn tests(&self, port: Port) -> Vec<Vec<Test>> {
        let to_port = || {
            let symbol = Test::ToListener(port.symbol());
            [Test::Protocol(port.protocol), symbol]
        };
        match self {
            Self::Anywhere => vec![to_port().to_vec()],
            Self::Loopback(families) => families
                .iter()
                .map(|family| {
                    let here = Test::To(vec![Cidr::host(family.loopback())]);
                    std::iter::once(here).chain(to_port()).collect()
                })
                .collect(),
        }
    }
}

/// The rules that keep others from the ports; `admitted` says what lets a packet through, where the
/// rules before these do not say it.
pub fn rules(ports: &[Port], at: &At, admitted: Option<&Test>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for port in ports {
        for tests in at.tests(*port) {
            if let Some(admitted) = admitted {
                let tests = tests.iter().chain([admitted]).cloned();
                rules.push(Rule::new(tests, Verdict::Return, "steered connections"));
            }
            rules.push(Rule::new(
                tests,
                refusal(port.protocol),
                "nobody reaches the listener who was not steered to it",
            ));
        }
    }
    rules
}

/// How a packet of a protocol is refused at once.
pub const fn refusal(protocol: Protocol) -> Verdict {
    match protocol {
        Protocol::Tcp => Verdict::Reset,
        Protocol::Udp => Verdict::Prohibit,
    }
}
