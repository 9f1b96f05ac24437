//! Why a resolver cannot be started.

use std::io;
use std::path::PathBuf;

use steer_core::address::Cidr;

/// Why a resolver cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// A pool has no room for a name.
    #[error("the pool {pool} of made-up addresses has no room for a name")]
    PoolTooSmall {
        /// The pool.
        pool: Cidr,
    },
    /// The file of the mapping cannot be read or written.
    #[error("{path} cannot keep the made-up addresses", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ResolverError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::PoolTooSmall { .. } => {
                "write a larger network under dns.fake_ip.pools, or none for the defaults"
                    .to_owned()
            }
            Self::File { path, .. } => format!(
                "write a file under dns.fake_ip.file that steer can write, its folder too, or \
                 none to keep them in memory: {}",
                path.display()
            ),
        }
    }
}

impl From<ResolverError> for io::Error {
    fn from(error: ResolverError) -> Self {
        Self::other(error)
    }
}
