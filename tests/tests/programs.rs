//! Real programs: steered, each gets what it gets unsteered, and the log tells where it went.

#[path = "programs/database.rs"]
mod database;
#[path = "programs/web.rs"]
mod web;

#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

use std::net::SocketAddr;

use lab::Program;

use site::Site;

/// How a program is steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Nft,
    Iptables,
    Tproxy,
    Ebpf,
    Tun,
    Tap,
    Env,
}

impl By {
    /// What steers any program.
    const TRANSPARENT: [Self; 6] = [
        Self::Nft,
        Self::Iptables,
        Self::Tproxy,
        Self::Ebpf,
        Self::Tun,
        Self::Tap,
    ];
    /// What changes packets on their way: sockets keep their addresses.
    const REWRITING: [Self; 5] = [
        Self::Nft,
        Self::Iptables,
        Self::Tproxy,
        Self::Tun,
        Self::Tap,
    ];
    /// What steers a program that honours proxy variables.
    const ALL: [Self; 7] = [
        Self::Nft,
        Self::Iptables,
        Self::Tproxy,
        Self::Ebpf,
        Self::Tun,
        Self::Tap,
        Self::Env,
    ];

    fn method(self) -> &'static str {
        match self {
            Self::Nft | Self::Iptables => "redirect",
            Self::Tproxy => "tproxy",
            Self::Ebpf => "ebpf",
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::Env => "env",
        }
    }

    /// `steer run`, up to the words of the command.
    fn run(self, site: &Site) -> Program {
        let run = site.steer().args(["run", "-m", self.method()]);
        let run = match self {
            Self::Nft | Self::Tproxy | Self::Tun | Self::Tap => run.args(["--backend", "nft"]),
            Self::Iptables => run.args(["--backend", "iptables"]),
            Self::Ebpf | Self::Env => run,
        };
        run.args(["--name", &site.name, "--log"])
            .arg(site.log())
            .arg("--")
    }
}

/// Runs a command unsteered and then by each method, and asserts that what it says is the same and
/// that every connection of it is in the log, with its true destination.
///
/// `prepare` gets the program with the words before the command.
#[track_caller]
fn same_by(site: &Site, methods: &[By], at: SocketAddr, prepare: impl Fn(Program) -> Program) {
    let direct = prepare(site.app.program("env")).run().expect_success();
    assert!(!direct.is_empty(), "a command that says something");
    for by in methods {
        // A log of its own for each.
        let _ = std::fs::remove_file(site.log());
        let steered = prepare(by.run(site)).run().expect_success();
        let differs = direct.lines().zip(steered.lines()).find(|(d, s)| d != s);
        assert!(
            steered == direct,
            "{by:?}: {} bytes, not {}; the first line that differs: {differs:?}",
            steered.len(),
            direct.len()
        );
        let records = site.records().all();
        assert!(!records.is_empty(), "{by:?} leaves a record");
        for record in records {
            assert_eq!(record["method"], by.method(), "{record:?}");
            assert_eq!(record["destination"], at.to_string(), "{by:?}: {record:?}");
            assert_eq!(record["outcome"], "ok", "{by:?}: {record:?}");
            assert_eq!(record["upstream"], "direct", "{by:?}: {record:?}");
        }
        site.assert_untouched();
    }
}
