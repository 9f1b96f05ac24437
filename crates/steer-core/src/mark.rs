//! Firewall marks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A firewall mark: the bits of `mask` are ours and hold `value`; all others belong to neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The bits that are set.
    pub value: u32,
    /// The bits that are looked at.
    pub mask: u32,
}

impl Mark {
    /// What the engine's own sockets carry, so that no rule of ours steers them.
    ///
    /// Bits 28 and 31 are free of istio (0x539), sing-box (0x2023 to 0x2025), Tailscale
    /// (0xff0000), Mullvad (0x6d6f6c65), dae (0x8000000) and Cilium (0xf00).
    pub const BYPASS: Self = Self {
        value: 0x1000_0000,
        mask: 0x9000_0000,
    };

    /// What packets carry that a policy route brings to the engine.
    pub const STEER: Self = Self {
        value: 0x8000_0000,
        mask: 0x9000_0000,
    };

    /// Whether a packet's mark holds this one.
    #[must_use]
    pub const fn matches(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}
