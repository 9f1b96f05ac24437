//! Programs by name, and why each does not obey.

use std::ffi::{OsStr, OsString};

use super::verb;

/// Programs with a reason that they share.
struct Known {
    names: &'static [&'static str],
    why: &'static str,
}

/// Why a program of this name goes round the variables.
pub(super) fn reason(name: &OsStr, args: &[OsString]) -> Option<&'static str> {
    if name == "openssl" && verb(args) == Some(OsStr::new("s_client")) {
        return Some("openssl s_client takes a proxy by -proxy alone");
    }
    let known = KNOWN
        .iter()
        .find(|known| known.names.iter().any(|other| name == *other));
    known.map(|known| known.why)
}

/// Each was tried, or its family was: with the variables set, it connected by itself. Names that
/// a program of one's own may well have (host, at, batch) are left out.
const KNOWN: [Known; 8] = [
    Known {
        names: &[
            "ssh",
            "slogin",
            "scp",
            "sftp",
            "ssh-keyscan",
            "ssh-copy-id",
            "autossh",
            "sshfs",
        ],
        why: "ssh reads no proxy variable; it takes a proxy by ProxyCommand alone",
    },
    Known {
        names: &[
            "nc",
            "nc.openbsd",
            "nc.traditional",
            "ncat",
            "netcat",
            "socat",
            "telnet",
            "telnet.netkit",
            "inetutils-telnet",
        ],
        why: "it connects to the address that it is given, and reads no proxy variable",
    },
    Known {
        names: &[
            "psql",
            "pg_dump",
            "pg_dumpall",
            "pg_restore",
            "pg_basebackup",
            "pg_isready",
            "pgbench",
        ],
        why: "PostgreSQL's library knows no proxies",
    },
    Known {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
        ],
        why: "the libraries of MySQL and MariaDB know no proxies",
    },
    Known {
        names: &[
            "redis-cli",
            "redis-benchmark",
            "valkey-cli",
            "valkey-benchmark",
        ],
        why: "Redis' client knows no proxies",
    },
    Known {
        names: &[
            "ldapsearch",
            "ldapadd",
            "ldapmodify",
            "ldapwhoami",
            "iperf",
            "iperf3",
        ],
        why: "it knows no proxies",
    },
    Known {
        names: &[
            "ping",
            "ping4",
            "ping6",
            "fping",
            "traceroute",
            "traceroute6",
            "tracepath",
            "mtr",
            "dig",
            "nslookup",
            "delv",
            "kdig",
        ],
        why: "it sends ICMP or DNS, which no HTTP proxy carries",
    },
    Known {
        names: &["docker", "systemd-run"],
        why: "a daemon does what it asks for, and that has variables of its own",
    },
];
