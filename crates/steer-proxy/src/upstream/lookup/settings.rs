//! Whom a host's names are asked of (man 5 resolv.conf).
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::system_conf::parse_resolv_conf;

/// Where the settings are, and what holds whatever they say.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) chosen: Option<SocketAddr>,
    pub(super) ours: Vec<IpAddr>,
}

/// Tells one state of a file from another: device, inode, length and time of change.
pub(super) type Stamp = Option<[i64; 5]>;

impl Settings {
    /// Those of this host, where `chosen` is asked if anybody is, and nobody of `ours`.
    pub(super) fn of_host(chosen: Option<SocketAddr>, ours: Vec<IpAddr>) -> Self {
        Self {
            path: Path::new("/etc/resolv.conf").to_owned(),
            chosen,
            ours,
        }
    }

    /// What changes when the settings do.
    pub(super) fn stamp(&self) -> Stamp {
        let file = std::fs::metadata(&self.path).ok()?;
        Some([
            file.dev().cast_signed(),
            file.ino().cast_signed(),
            file.len().cast_signed(),
            file.mtime(),
            file.mtime_nsec(),
        ])
    }

    /// The settings as they are.
    pub(super) fn read(&self) -> io::Result<(ResolverConfig, ResolverOpts)> {
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        // Without any, it is the one on this host (man 5 resolv.conf).
        let local = b"\nnameserver 127.0.0.1\n";
        let (config, mut options) = parse_resolv_conf(&text)
            .or_else(|_| parse_resolv_conf([&text[..], local].concat()))
            .map_err(io::Error::other)?;
        let servers = match self.chosen {
            None => self.others(config.name_servers()),
            Some(chosen) => vec![server(chosen)],
        };
        if servers.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} names no resolver but this one", self.path.display()),
            ));
        }
        let domain = config.domain().cloned();
        limit(&mut options);
        let config = ResolverConfig::from_parts(domain, config.search().to_vec(), servers);
        Ok((config, options))
    }

    fn others(&self, servers: &[NameServerConfig]) -> Vec<NameServerConfig> {
        let is_ours = |ip: IpAddr| {
            let mut ours = self.ours.iter();
            ours.any(|our| *our == ip || (our.is_unspecified() && ip.is_loopback()))
        };
        let mut servers = servers.to_vec();
        servers.retain(|server| !is_ours(server.ip.to_canonical()));
        servers
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// Keeps a lookup within the time that a dial has, whatever the host's settings are.
fn limit(options: &mut ResolverOpts) {
    options.timeout = options.timeout.min(Duration::from_secs(3));
    options.attempts = options.attempts.min(3);
    options.cache_size = 1024;
    // An answer that changes is followed within minutes, also where it says otherwise.
    options.positive_max_ttl = Some(Duration::from_secs(300));
    options.negative_max_ttl = Some(Duration::from_secs(5));
}
