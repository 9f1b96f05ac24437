//! The iptables driver at work in a host of the lab, for the tests beside this folder.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses its part"
)]

use std::io::Read;

use lab::{Client, Failure, Host, Lab, Service, Snapshot};
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::object::{IptablesVariant, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::PortRef;
use steer_kernel::iptables::IptablesDriver;

pub const VARIANTS: [IptablesVariant; 2] = [IptablesVariant::Nft, IptablesVariant::Legacy];

pub struct Steering {
    pub netns: Netns,
    pub variant: IptablesVariant,
    pub from: Vec<Object>,
}

impl Steering {
    pub fn on(host: &Host, variant: IptablesVariant) -> Self {
        let path = host.namespace_path();
        Self {
            netns: Netns::Path(path.to_str().unwrap().to_owned()),
            variant,
            from: Vec::new(),
        }
    }

    pub fn set(&mut self, to: &[Ruleset]) -> Result<(), DriverError> {
        let object = |rules: &Ruleset| Object::Iptables(rules.clone(), self.variant);
        let to: Vec<Object> = to.iter().map(object).collect();
        IptablesDriver::new().set(&Change {
            instance: &main(),
            netns: &self.netns,
            from: &self.from,
            to: &to,
        })?;
        self.from = to;
        Ok(())
    }
}

pub fn main() -> Instance {
    Instance::new("main").unwrap()
}

pub fn base(kind: ChainKind) -> Option<Base> {
    Some(Base {
        kind,
        hook: Hook::Output,
        priority: 0,
    })
}

pub fn chain(name: &str, base: Option<Base>, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base,
        rules,
    }
}

pub fn ruleset(role: Role, chains: Vec<Chain>) -> Ruleset {
    Ruleset {
        role,
        families: Family::ALL.to_vec(),
        chains,
    }
}

/// Every TCP connection that starts goes to a port, by way of a second chain.
pub fn redirect(port: u16) -> Ruleset {
    let to = Verdict::Redirect(PortRef::Fixed(port));
    let opening = [Test::Protocol(Protocol::Tcp), Test::Opening];
    ruleset(
        Role::Steer,
        vec![
            chain(
                "send",
                None,
                vec![Rule::new(opening, to, "it's \"steered\"")],
            ),
            chain(
                "out",
                base(ChainKind::Nat),
                vec![Rule::new([], Verdict::Jump("send".to_owned()), "all")],
            ),
        ],
    )
}

pub fn pair() -> (Host, Host, lab::Server, lab::Server) {
    let lab = Lab::new("ipt");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let there = srv.serve(80, Service::Banner(b"there".to_vec()));
    let here = app.serve(15001, Service::Banner(b"here!".to_vec()));
    (app, srv, here, there)
}

pub fn greeting(client: Result<Client, Failure>) -> Result<String, Failure> {
    let client = client?;
    let mut hello = [0; 5];
    // A program that ends meanwhile can interrupt a read, which `read_exact` takes up again.
    let read = client.stream().read_exact(&mut hello);
    read.expect("both servers speak first");
    Ok(String::from_utf8(hello.into()).unwrap())
}

pub fn snapshot(host: &Host, variant: IptablesVariant) -> Snapshot {
    let whole = Snapshot::take(host).of_host_only();
    match variant {
        IptablesVariant::Nft => whole,
        // The kernel keeps a legacy table that was ever used.
        IptablesVariant::Legacy => whole.without_empty_legacy_tables(),
    }
}

pub fn listing(host: &Host, program: &str, table: &str) -> String {
    host.program(program)
        .args(["-t", table, "-S"])
        .run()
        .expect_success()
}
