//! Why nothing could be counted.

use nix::errno::Errno;

use crate::cgroup::CgroupError;
use crate::nft::socket::Refused;

/// Why nothing could be counted.
#[derive(Debug, thiserror::Error)]
#[expect(
    private_interfaces,
    reason = "the kernel's answer is shown, not taken apart"
)]
pub enum WitnessError {
    /// The command's cgroup cannot be found.
    #[error("the cgroup whose packets are to be counted cannot be found")]
    Cgroup(#[source] CgroupError),
    /// The rules that count cannot be made.
    #[error("the rules that count packets could not be made")]
    Begin(#[source] Refused),
    /// The counters cannot be read.
    #[error("the packets that were counted could not be read")]
    Read(#[source] Refused),
}

impl WitnessError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Cgroup(error) => error.help(),
            Self::Begin(refused) | Self::Read(refused) => match refused {
                Refused::Raced => {
                    "another program keeps changing the rules; find it with nft monitor, then try again"
                }
                Refused::Message { errno, .. } | Refused::Socket(errno) => match errno {
                    // The kernel says the same where the table stands and is another's.
                    Errno::EPERM | Errno::EACCES | Errno::EEXIST => {
                        "counting needs CAP_NET_ADMIN (run as root, or choose a method without privileges: `-m netns`), and a name that no other instance has (`--name`)"
                    }
                    _ => {
                        "the kernel lacks a part of nf_tables: modprobe -a nf_tables nft_socket nft_fib_inet"
                    }
                },
            },
        }
    }
}
