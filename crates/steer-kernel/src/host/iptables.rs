//! iptables programs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use steer_core::host::Presence;
use steer_core::object::IptablesVariant;

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

fn version(name: &str) -> io::Result<String> {
    let path = format!("{}:{SBIN}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name)
        .arg("--version")
        .env("PATH", path)
        .stdin(std::process::Stdio::null())
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
        IptablesVariant::Legacy if Path::new("/proc/net/ip_tables_names").exists() => {
            Presence::Present
        }
        IptablesVariant::Legacy => Presence::Unknown(
            "ip_tables is not loaded; the kernel may have it as a module".to_owned(),
        ),
    }
}

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
