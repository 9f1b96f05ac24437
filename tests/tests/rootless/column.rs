//! The methods that need no privilege, and one for comparison that does.

/// A column of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Netns,
    /// Without privilege its device is in namespaces of the command's own.
    Tun,
    Seccomp,
    Preload,
    Env,
    /// Started by root, around a command of the same user.
    Ebpf,
}

impl Column {
    /// The name that `-m` takes.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Tun => "tun",
            Self::Seccomp => "seccomp",
            Self::Preload => "preload",
            Self::Env => "env",
            Self::Ebpf => "ebpf",
        }
    }

    /// Whether the command has namespaces of its own, that nothing leaves.
    pub(crate) fn confines(self) -> bool {
        matches!(self, Self::Netns | Self::Tun)
    }

    /// Whether a connection can be the program's own, without a relay, where nothing needs one.
    pub(crate) fn hands_over(self) -> bool {
        matches!(self, Self::Seccomp | Self::Preload)
    }
}
