//! Transparent steering in hosts of the lab: a driver at work, its rules, and an engine.
//!
//! Each case is written once, in [`cases`] and [`ends`], and mounted for every packet filter.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses its part"
)]

#[path = "tproxy/cases.rs"]
pub mod cases;
#[path = "tproxy/ends.rs"]
pub mod ends;
#[path = "tproxy/engine.rs"]
pub mod engine;
#[path = "tproxy/rules.rs"]
pub mod rules;

use std::fmt;
use std::io::Read;

use lab::{Client, Failure, Host, Lab, Snapshot};
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::object::{IptablesVariant, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::Ruleset;
use steer_kernel::iptables::IptablesDriver;
use steer_kernel::nft::NftDriver;

/// Who puts the rules into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Nft,
    Iptables(IptablesVariant),
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nft => f.write_str("nft"),
            Self::Iptables(variant) => variant.fmt(f),
        }
    }
}

impl Filter {
    fn driver(self) -> Box<dyn Driver> {
        match self {
            Self::Nft => Box::new(NftDriver::new()),
            Self::Iptables(_) => Box::new(IptablesDriver::new()),
        }
    }

    fn object(self, rules: &Ruleset) -> Object {
        match self {
            Self::Nft => Object::Nft(rules.clone()),
            Self::Iptables(variant) => Object::Iptables(rules.clone(), variant),
        }
    }

    /// The state of a host, but for what the filter may leave.
    pub fn snapshot(self, host: &Host) -> Snapshot {
        let whole = Snapshot::take(host).of_host_only();
        match self {
            Self::Nft | Self::Iptables(IptablesVariant::Nft) => whole,
            // The kernel keeps a legacy table that was ever used.
            Self::Iptables(IptablesVariant::Legacy) => whole.without_empty_legacy_tables(),
        }
    }
}

/// A driver at work in a host of the lab.
pub struct Steering {
    filter: Filter,
    driver: Box<dyn Driver>,
    netns: Netns,
    from: Vec<Object>,
}

impl Steering {
    pub fn on(host: &Host, filter: Filter) -> Self {
        let path = host.namespace_path();
        Self {
            filter,
            driver: filter.driver(),
            netns: Netns::Path(path.to_str().unwrap().to_owned()),
            from: Vec::new(),
        }
    }

    pub fn set(&mut self, to: &[Ruleset]) -> Result<(), DriverError> {
        let to: Vec<Object> = to.iter().map(|rules| self.filter.object(rules)).collect();
        self.driver.set(&Change {
            instance: &Instance::new("main").unwrap(),
            netns: &self.netns,
            from: &self.from,
            to: &to,
        })?;
        self.from = to;
        Ok(())
    }
}

/// Brings packets with the steering mark that come in at an interface to this host; `None` means
/// any interface.
pub fn route(host: &Host, interface: Option<&str>) {
    let mark = Mark::STEER.to_string();
    for family in ["-4", "-6"] {
        let rule = ["rule", "add", "priority", "1500", "fwmark", &mark];
        let from = interface.map_or(vec![], |name| vec!["iif", name]);
        let to = ["lookup", "15001"];
        host.ip(&[&[family], &rule[..], &from, &to].concat());
        let local = ["route", "replace", "local", "default", "dev", "lo"];
        host.ip(&[&[family], &local[..], &["table", "15001"]].concat());
    }
}

/// Takes back what [`route`] did.
pub fn unroute(host: &Host) {
    for family in ["-4", "-6"] {
        host.ip(&[family, "rule", "del", "priority", "1500"]);
        host.ip(&[family, "route", "flush", "table", "15001"]);
    }
}

/// Two hosts with a link: one whose own packets are steered, and one with servers.
pub fn pair() -> (Host, Host) {
    let lab = Lab::new("tproxy");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    (app, srv)
}

/// A client, a router (`eth0` to the client) and a host with servers.
pub fn gateway() -> (Host, Host, Host) {
    let lab = Lab::new("tproxy");
    let (cli, gw, srv) = (lab.host("cli"), lab.router("gw"), lab.host("srv"));
    lab.link(&gw, &cli);
    lab.link(&gw, &srv);
    (cli, gw, srv)
}

/// The five bytes that every server here speaks first.
pub fn greeting(client: Result<Client, Failure>) -> Result<String, Failure> {
    let client = client?;
    let mut hello = [0; 5];
    let read = client.stream().read_exact(&mut hello);
    read.expect("the servers speak first");
    Ok(String::from_utf8(hello.into()).unwrap())
}
