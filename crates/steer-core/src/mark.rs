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

    /// What packets carry that a policy route brings to the engine: the mark of slot 0.
    ///
    /// Bits 29 and 30 hold the slot ([`Mark::slot`]), so that instances in one namespace tell
    /// their packets apart.
    pub const STEER: Self = Self {
        value: 0x8000_0000,
        mask: 0xf000_0000,
    };

    /// What the sockets carry that answer datagrams in a destination's name: [`Mark::BYPASS`] and a
    /// bit more, which is one of the slot's where the highest bit is set.
    pub const ANSWER: Self = Self {
        value: 0x3000_0000,
        mask: 0xb000_0000,
    };

    /// How many slots [`Mark::STEER`] has room for.
    pub const SLOTS: u8 = 4;

    /// The steering mark of a slot; slots beyond the last are the last.
    #[must_use]
    pub const fn slot(slot: u8) -> Self {
        let slot = if slot < Self::SLOTS {
            slot
        } else {
            Self::SLOTS - 1
        };
        Self {
            value: Self::STEER.value | (slot as u32) << 29,
            mask: Self::STEER.mask,
        }
    }

    /// Whether a packet's mark holds this one.
    #[must_use]
    pub const fn matches(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

impl Mark {
    /// Whether a packet can carry both marks at once, each in its own bits or with the same value
    /// in the bits that they share: then one is taken for the other.
    #[must_use]
    pub const fn clashes(self, other: Self) -> bool {
        let shared = self.mask & other.mask;
        shared != 0 && self.value & shared == other.value & shared
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}
