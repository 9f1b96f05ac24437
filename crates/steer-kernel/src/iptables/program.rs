//! The iptables programs of one variant and family.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::thread;

use iptables::IPTables;
use steer_core::address::Family;
use steer_core::object::IptablesVariant;

/// The pair of programs that list and restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) variant: IptablesVariant,
    pub(crate) family: Family,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("{program} cannot be run")]
    Missing {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{program} refused: {complaint}")]
    Refused {
        program: &'static str,
        complaint: String,
    },
    #[error("{program}: {complaint}")]
    Unreadable {
        program: &'static str,
        complaint: String,
    },
}

impl ProgramError {
    /// What to do next.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "install it: apt-get install iptables; or use the nft backend, which needs no program"
            }
            Self::Refused { complaint, .. } if complaint.contains("ermission denied") => {
                "run as root, or give the program the capability CAP_NET_ADMIN"
            }
            Self::Refused { complaint, .. } if complaint.contains("xtables lock") => {
                "another program holds the lock of iptables: find it with fuser /run/xtables.lock"
            }
            Self::Refused { complaint, .. }
                if complaint.contains("No such file")
                    || complaint.contains("No chain/target/match")
                    || complaint.contains("Extension") =>
            {
                "the kernel lacks a part of iptables: modprobe -a xt_REDIRECT xt_TPROXY xt_socket xt_mark xt_connmark xt_addrtype xt_owner xt_cgroup xt_comment xt_multiport xt_conntrack"
            }
            Self::Refused { .. } | Self::Unreadable { .. } => {
                "look at the cause above; use the nft backend where iptables cannot"
            }
        }
    }
}

impl Program {
    /// The listing of a table in the form of `-S`.
    pub(crate) fn list(self, table: &str) -> Result<String, ProgramError> {
        let cmd = self.name();
        // The crate would wait for the lock without a bound; the arguments below bound it.
        let program = IPTables {
            cmd,
            has_check: true,
            has_wait: false,
            is_numeric: false,
        };
        let output = program.execute(table, "-S --wait 5").map_err(|error| {
            match error.downcast::<io::Error>() {
                Ok(source) => ProgramError::Missing {
                    program: cmd,
                    source: *source,
                },
                Err(error) => ProgramError::Unreadable {
                    program: cmd,
                    complaint: error.to_string(),
                },
            }
        })?;
        checked(cmd, &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Checks a text without applying it.
    pub(crate) fn check(self, text: &str) -> Result<(), ProgramError> {
        self.run(text, &["--test"])
    }

    /// Applies a text, a transaction for each table.
    pub(crate) fn restore(self, text: &str) -> Result<(), ProgramError> {
        self.run(text, &[])
    }

    fn run(self, text: &str, more: &[&str]) -> Result<(), ProgramError> {
        let program = self.restore_name();
        let missing = |source| ProgramError::Missing { program, source };
        let mut child = Command::new(program)
            .args(["--noflush", "--wait", "5"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(missing)?;
        let mut input = child.stdin.take().expect("stdin was asked for");
        let output = thread::scope(|scope| {
            // From another thread, since the program may complain before it has read everything;
            // what it did not read it has complained about.
            scope.spawn(move || input.write_all(text.as_bytes()));
            child.wait_with_output()
        });
        checked(program, &output.map_err(missing)?)
    }

    const fn name(self) -> &'static str {
        match (self.variant, self.family) {
            (IptablesVariant::Nft, Family::V4) => "iptables-nft",
            (IptablesVariant::Nft, Family::V6) => "ip6tables-nft",
            (IptablesVariant::Legacy, Family::V4) => "iptables-legacy",
            (IptablesVariant::Legacy, Family::V6) => "ip6tables-legacy",
        }
    }

    const fn restore_name(self) -> &'static str {
        match (self.variant, self.family) {
            (IptablesVariant::Nft, Family::V4) => "iptables-nft-restore",
            (IptablesVariant::Nft, Family::V6) => "ip6tables-nft-restore",
            (IptablesVariant::Legacy, Family::V4) => "iptables-legacy-restore",
            (IptablesVariant::Legacy, Family::V6) => "ip6tables-legacy-restore",
        }
    }
}

fn checked(program: &'static str, output: &Output) -> Result<(), ProgramError> {
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.is_empty()).collect();
    Err(ProgramError::Refused {
        program,
        complaint: match lines.is_empty() {
            true => output.status.to_string(),
            false => lines.join("; "),
        },
    })
}
