//! iptables: its programs, what the kernel has for them, and what neighbours have in its old tables.

mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use steer_core::host::{Neighbour, Presence};
use steer_core::object::IptablesVariant;

use super::families;
use super::nft::{ONLY_WITH, has};
use crate::nft::probe::{Answer, Extension, extension};
use crate::nft::socket::Refused;

/// The programs that are installed, by the tables that they write.
///
/// Only their version is asked: listing rules would make the tables that are listed.
pub(super) fn programs() -> BTreeMap<IptablesVariant, Presence> {
    let mut found = BTreeMap::new();
    for name in ["iptables-nft", "iptables-legacy", "iptables"] {
        match version(name) {
            Ok(text) => {
                let variant = variant(&text);
                found.entry(variant).or_insert_with(|| usable(variant));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let variant = match name {
                    "iptables-legacy" => IptablesVariant::Legacy,
                    _ => IptablesVariant::Nft,
                };
                found
                    .entry(variant)
                    .or_insert_with(|| Presence::Unknown(format!("{name} --version: {error}")));
            }
        }
    }
    found
}

/// Whether iptables can hand packets to transparent sockets, with programs of either variant.
pub(super) fn tproxy() -> Presence {
    let parts = [("TPROXY", Extension::Target), ("socket", Extension::Match)];
    for family in families::known() {
        for (name, kind) in parts {
            match extension(family, name, kind, 1) {
                Answer::Yes => {}
                Answer::No => {
                    return Presence::Absent(format!("the kernel has no xt_{name} for {family}"));
                }
                Answer::Failed(refused) => return by_modules(&refused),
            }
        }
    }
    Presence::Present
}

/// What can be told of the extensions where the kernel does not answer for them.
fn by_modules(refused: &Refused) -> Presence {
    if ["xt_TPROXY", "xt_socket"].into_iter().all(has) {
        return Presence::Present;
    }
    Presence::Unknown(match refused {
        Refused::Message { errno, .. } | Refused::Socket(errno) if *errno == Errno::EPERM => {
            ONLY_WITH.to_owned()
        }
        other => other.to_string(),
    })
}

/// What others have in the old tables: chains at hooks, and the marks that their rules set or
/// look at. Nothing where it cannot be listed; what iptables writes over nf_tables is found there.
pub(super) fn neighbours() -> Vec<Neighbour> {
    let mut found = BTreeSet::new();
    for (names, program) in [
        (LEGACY_TABLES, "iptables-legacy"),
        ("/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy"),
    ] {
        // Listing where there is no table would load the kernel's part.
        if fs::read_to_string(names).is_ok_and(|names| !names.is_empty()) {
            match listed(&format!("{program}-save")) {
                Ok(text) => found.extend(saved::neighbours(&text, program)),
                Err(error) => {
                    tracing::debug!(%error, program, "the rules of neighbours are not known");
                }
            }
        }
    }
    found.into_iter().collect()
}

/// What a program that lists writes, within a bounded time.
fn listed(name: &str) -> io::Result<String> {
    let mut child = command(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = child.stdout.take().expect("its output was asked for");
    let (text_tx, text_rx) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.read_to_end(&mut text);
        // Nobody waits any more when it took too long.
        let _ = text_tx.send(read.map(|_| String::from_utf8_lossy(&text).into_owned()));
    });
    let text = text_rx.recv_timeout(PATIENCE);
    if text.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    match text {
        Ok(text) if status.success() => text,
        Ok(_) => Err(io::Error::other(status.to_string())),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn command(name: &str) -> Command {
    let path = format!("{}:{SBIN}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(name);
    command.env("PATH", path);
    command
}

fn version(name: &str) -> io::Result<String> {
    let output = command(name)
        .arg("--version")
        .stdin(Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

/// `iptables v1.8.9 (nf_tables)`; programs older than 1.8 name no tables and write the old ones.
fn variant(version: &str) -> IptablesVariant {
    match version.contains("(nf_tables)") {
        true => IptablesVariant::Nft,
        false => IptablesVariant::Legacy,
    }
}

/// Whether the kernel has what the program writes, as far as it can be told without asking for it.
fn usable(variant: IptablesVariant) -> Presence {
    match variant {
        // Asked as [`Host::nft`](steer_core::host::Host::nft).
        IptablesVariant::Nft => Presence::Present,
        IptablesVariant::Legacy if Path::new(LEGACY_TABLES).exists() || has("ip_tables") => {
            Presence::Present
        }
        IptablesVariant::Legacy => Presence::Unknown(
            "ip_tables is not loaded; the kernel may have it as a module".to_owned(),
        ),
    }
}

/// How long a program may take to list its tables.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of the thread, which may be in another namespace than the process.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";
/// Where the programs are; users' PATHs often lack these.
const SBIN: &str = "/usr/sbin:/sbin:/usr/local/sbin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_the_tables() {
        assert_eq!(
            variant("iptables v1.8.9 (nf_tables)\n"),
            IptablesVariant::Nft
        );
        assert_eq!(
            variant("iptables v1.8.9 (legacy)\n"),
            IptablesVariant::Legacy
        );
        assert_eq!(variant("iptables v1.6.2\n"), IptablesVariant::Legacy);
    }
}
