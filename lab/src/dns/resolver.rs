//! A real resolver with a zone of ours: dnsmasq.

use std::net::IpAddr;

use crate::host::Host;
use crate::proc::Proc;

/// A dnsmasq that knows the names it was given and no other; see [`Host::resolve`].
#[derive(Debug)]
pub struct Resolver {
    proc: Proc,
}

impl Resolver {
    /// The questions so far, as `TYPE NAME FROM`.
    pub fn asked(&self) -> Vec<String> {
        let said = self.proc.stderr();
        let question = |line: &str| {
            let (_, rest) = line.split_once(": query[")?;
            let (kind, rest) = rest.split_once("] ")?;
            let (name, from) = rest.split_once(" from ")?;
            Some(format!("{kind} {name} {from}"))
        };
        said.lines().filter_map(question).collect()
    }
}

impl Host {
    /// Answers DNS on port 53 of these addresses, from records in dnsmasq's own words.
    ///
    /// Each word is an option of dnsmasq without its dashes, such as
    /// `host-record=www.a.example,192.0.2.1,2001:db8::1` or `txt-record=a.example,words`. Names
    /// that no record has do not exist.
    pub fn resolve(&self, addresses: &[IpAddr], records: &[&str]) -> Resolver {
        let mut program = self.program("dnsmasq").args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            // None: where there is one user, groups cannot be set either.
            "--group=",
            "--no-resolv",
            "--no-hosts",
            "--local=/#/",
            "--local-ttl=60",
            "--bind-interfaces",
            "--log-queries",
            "--log-facility=-",
        ]);
        for address in addresses {
            program = program.arg(format!("--listen-address={address}"));
        }
        for record in records {
            program = program.arg(format!("--{record}"));
        }
        let proc = program.spawn();
        proc.wait_line(|line| line.contains("started, version"));
        Resolver { proc }
    }
}
