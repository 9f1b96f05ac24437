//! A real resolver with a zone of ours: dnsmasq.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{DnsQuery, Kind};
use crate::host::Host;
use crate::proc::Proc;
use crate::watched::eventually;

/// A dnsmasq that knows the names it was given and no other; see [`Host::resolve`].
#[derive(Debug)]
pub struct Resolver {
    proc: Proc,
    host: Host,
    at: SocketAddr,
}

impl Resolver {
    /// The questions so far, as `TYPE NAME FROM`.
    pub fn asked(&self) -> Vec<String> {
        self.barrier();
        let said = self.proc.stderr();
        let question = |line: &str| {
            let (_, rest) = line.split_once(": query[")?;
            let (kind, rest) = rest.split_once("] ")?;
            let (name, from) = rest.split_once(" from ")?;
            Some(format!("{kind} {name} {from}"))
        };
        let asked = said.lines().filter_map(question);
        asked.filter(|line| !line.contains(MARKER)).collect()
    }

    /// Waits until everything that it had written about questions has been read.
    ///
    /// An answer may be with its client before the line about the question is here. What it writes
    /// comes in order, so it is asked for a name of its own, whose line comes last.
    fn barrier(&self) {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("n{number}.{MARKER}");
        let query = DnsQuery::new(1, &name, Kind::A).bytes();
        let told = || self.proc.stderr().contains(&format!("[A] {name} "));
        eventually("the resolver tells of a question", || {
            // Asked again where the question was lost, as datagrams may be.
            let _ = self.host.ask_udp(self.at, &query, PATIENCE);
            told().then_some(())
        });
    }
}

/// Where the names are that nobody else asks for.
const MARKER: &str = "barrier.lab.invalid";

/// How long an answer to a question of our own is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

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
        let ip = *addresses.first().expect("a resolver has an address");
        Resolver {
            proc,
            host: self.clone(),
            at: SocketAddr::new(ip, 53),
        }
    }
}
