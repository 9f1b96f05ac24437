//! The methods of steering, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way to steer traffic.
///
/// The name is data: it is printed, recorded and looked up in the registry, never matched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The proxy variables of a child process.
    Env,
    /// A proxy port that the client itself is configured with.
    Explicit,
    /// LD_PRELOAD over the socket calls.
    Preload,
    /// seccomp user notification.
    Seccomp,
    /// A private network namespace in which every address is local.
    Netns,
    /// nat REDIRECT.
    Redirect,
    /// mangle TPROXY.
    Tproxy,
    /// A TUN device.
    Tun,
    /// A TAP device.
    Tap,
    /// eBPF socket hooks.
    Ebpf,
    /// Answers of a resolver.
    Dns,
}

/// A name that is no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a method; the methods are {}", names())]
pub struct UnknownMethod {
    /// The name given.
    pub name: String,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 11] = [
        Self::Env,
        Self::Explicit,
        Self::Preload,
        Self::Seccomp,
        Self::Netns,
        Self::Redirect,
        Self::Tproxy,
        Self::Tun,
        Self::Tap,
        Self::Ebpf,
        Self::Dns,
    ];

    /// The name in config, records and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Explicit => "explicit",
            Self::Preload => "preload",
            Self::Seccomp => "seccomp",
            Self::Netns => "netns",
            Self::Redirect => "redirect",
            Self::Tproxy => "tproxy",
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::Ebpf => "ebpf",
            Self::Dns => "dns",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|m| m.name() == name)
            .ok_or_else(|| UnknownMethod {
                name: name.to_owned(),
            })
    }
}

fn names() -> String {
    Method::ALL.map(Method::name).join(", ")
}
