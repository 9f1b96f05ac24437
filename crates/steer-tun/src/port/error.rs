//! Why a descriptor cannot be used as a device's.

use std::io;

/// Why a descriptor cannot be used as a device's.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It is of something else.
    #[error("the descriptor is of no TUN or TAP device")]
    NoDevice {
        /// What the kernel says.
        source: io::Error,
    },
    /// Packets come with four bytes that nobody needs.
    #[error("the device {name} was opened without IFF_NO_PI")]
    PacketInformation {
        /// The device.
        name: String,
    },
    /// The header before packets has a length that is not known.
    #[error("the device {name} has headers of {length} bytes before its packets")]
    Header {
        /// The device.
        name: String,
        /// The length.
        length: usize,
    },
    /// What is left to whoever reads could not be said.
    #[error("the device {name} could not be told what to leave to the engine")]
    Offloads {
        /// The device.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
}

impl PortError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoDevice { .. } => {
                "hand in a descriptor of /dev/net/tun on which TUNSETIFF was called".to_owned()
            }
            Self::PacketInformation { .. } => {
                "open it with IFF_NO_PI (and IFF_VNET_HDR, for speed)".to_owned()
            }
            Self::Header { .. } => "set its length to 10 or 12 (TUNSETVNETHDRSZ)".to_owned(),
            Self::Offloads { .. } => "leave IFF_VNET_HDR out where the device is opened".to_owned(),
        }
    }
}

impl From<PortError> for io::Error {
    fn from(error: PortError) -> Self {
        Self::other(error)
    }
}
