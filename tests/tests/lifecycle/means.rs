//! What steers.

use std::fmt;

/// A transparent method, and the packet filter that its rules are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    RedirectNft,
    RedirectIptables,
    RedirectLegacy,
    TproxyNft,
    TproxyIptables,
    TproxyLegacy,
    Ebpf,
    Tun,
    Tap,
}

impl Means {
    /// The method's name.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::RedirectNft | Self::RedirectIptables | Self::RedirectLegacy => "redirect",
            Self::TproxyNft | Self::TproxyIptables | Self::TproxyLegacy => "tproxy",
            Self::Ebpf => "ebpf",
            Self::Tun => "tun",
            Self::Tap => "tap",
        }
    }

    /// The packet filter, where there is one.
    pub(crate) fn backend(self) -> Option<&'static str> {
        match self {
            Self::RedirectNft | Self::TproxyNft | Self::Tun | Self::Tap => Some("nft"),
            Self::RedirectIptables | Self::TproxyIptables => Some("iptables"),
            Self::RedirectLegacy | Self::TproxyLegacy => Some("iptables-legacy"),
            Self::Ebpf => None,
        }
    }

    /// The words of the command line that choose it.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let backend = self.backend().map(|backend| ["--backend", backend]);
        let backend = backend.into_iter().flatten();
        ["-m", self.method()].into_iter().chain(backend).collect()
    }

    /// Whether datagrams of any port come to the engine.
    pub(crate) fn steers_udp(self) -> bool {
        self.method() != "redirect"
    }

    /// Whether the kernel removes what steers with the last who holds it.
    pub(crate) fn rules_have_an_owner(self) -> bool {
        matches!(self.backend(), Some("nft") | None)
    }
}

/// The lines of a config.
impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "method: {}", self.method())?;
        match self.backend() {
            Some(backend) => writeln!(f, "backend: {backend}"),
            None => Ok(()),
        }
    }
}
