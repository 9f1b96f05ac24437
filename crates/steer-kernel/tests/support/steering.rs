//! The nf_tables driver at work in a host of the lab, for the tests beside this folder.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses its part"
)]

use std::io::Read;

use lab::{Client, Failure, Host, Lab, Service};
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::object::Object;
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::PortRef;
use steer_kernel::nft::NftDriver;

/// A driver at work in a host of the lab.
pub struct Steering {
    pub driver: NftDriver,
    pub netns: Netns,
    pub from: Vec<Object>,
}

impl Steering {
    pub fn on(host: &Host) -> Self {
        let path = host.namespace_path();
        Self {
            driver: NftDriver::new(),
            netns: Netns::Path(path.to_str().unwrap().to_owned()),
            from: Vec::new(),
        }
    }

    pub fn set(&mut self, to: &[Ruleset]) -> Result<(), DriverError> {
        let to: Vec<Object> = to.iter().cloned().map(Object::Nft).collect();
        self.driver.set(&Change {
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

pub fn ruleset(role: Role, kind: ChainKind, families: &[Family], rules: Vec<Rule>) -> Ruleset {
    let (name, priority) = match kind {
        ChainKind::Nat => ("steered", -101),
        ChainKind::Filter | ChainKind::Route => ("guarded", 0),
    };
    Ruleset {
        role,
        families: families.to_vec(),
        chains: vec![Chain {
            name: name.to_owned(),
            base: Some(Base {
                kind,
                hook: Hook::Output,
                priority,
            }),
            rules,
        }],
    }
}

/// Every TCP connection that starts goes to a port, if the further tests hold.
pub fn redirect(port: u16, tests: impl IntoIterator<Item = Test>) -> Ruleset {
    let mut all = vec![Test::Protocol(Protocol::Tcp), Test::Opening];
    all.extend(tests);
    let rule = Rule::new(
        all,
        Verdict::Redirect(PortRef::Fixed(port)),
        "a test steers",
    );
    ruleset(Role::Steer, ChainKind::Nat, &Family::ALL, vec![rule])
}

pub fn guard(families: &[Family], verdict: Verdict) -> Ruleset {
    let tests = match verdict {
        // A reset passes this hook too, and must not be refused in turn.
        Verdict::Reset => vec![Test::Opening],
        _ => Vec::new(),
    };
    let rule = Rule::new(tests, verdict, "a test refuses");
    ruleset(Role::Guard, ChainKind::Filter, families, vec![rule])
}

/// Two linked hosts, and a server with a greeting of its own on each.
pub fn pair() -> (Host, Host, lab::Server, lab::Server) {
    let lab = Lab::new("nftpkt");
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

pub fn list(host: &Host) -> String {
    host.program("nft")
        .args(["list", "ruleset"])
        .run()
        .expect_success()
}
