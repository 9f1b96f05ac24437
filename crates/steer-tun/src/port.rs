//! A descriptor of a device, by which packets come and go.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::uio::writev;
use nix::unistd::read;
use steer_core::object::{Layer, Offloads};

use crate::packet::Offload;
use crate::segment::GATEWAY;
use crate::sys;
use crate::wire::{Hop, Wire};

mod error;
mod room;

pub use error::PortError;
pub use room::Room;

/// A descriptor of a device: one queue of it.
///
/// Reading waits, until the device is gone. Several threads may read and write; each call is one
/// packet.
#[derive(Debug)]
pub struct Port {
    fd: OwnedFd,
    name: String,
    layer: Layer,
    mtu: usize,
    /// The length of the header before each frame (linux/virtio_net.h); none without offloads.
    header: usize,
    offloads: Offloads,
}

impl Port {
    /// Takes over a descriptor of a device, and asks it for as many offloads as the kernel has.
    ///
    /// # Errors
    /// It is of no TUN or TAP device, or of one that was opened in a way that nobody needs.
    pub fn open(fd: OwnedFd, mtu: usize) -> Result<Self, PortError> {
        let sys::Attached { name, flags } =
            sys::attached(fd.as_fd()).map_err(|source| PortError::NoDevice { source })?;
        if flags & libc::IFF_NO_PI == 0 {
            return Err(PortError::PacketInformation { name });
        }
        let layer = match flags & libc::IFF_TAP {
            0 => Layer::Ip,
            _ => Layer::Ethernet,
        };
        let mut port = Self {
            fd,
            name,
            layer,
            mtu,
            header: 0,
            offloads: Offloads::None,
        };
        if flags & libc::IFF_VNET_HDR != 0 {
            port.header = sys::header_length(port.fd.as_fd()).map_err(|e| port.unasked(e))?;
            if !(Offload::HEADER..=HEADER_MOST).contains(&port.header) {
                let (name, length) = (port.name, port.header);
                return Err(PortError::Header { name, length });
            }
            port.offer()?;
        }
        Ok(port)
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it carries.
    #[must_use]
    pub const fn layer(&self) -> Layer {
        self.layer
    }

    /// What it leaves to us.
    #[must_use]
    pub const fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Has the kernel give whole packets alone: for one that is to be written where no header says what
    /// is left to do.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn renounce(&mut self) -> Result<(), PortError> {
        if self.header > 0 {
            sys::offer(self.fd.as_fd(), 0).map_err(|e| self.unasked(e))?;
        }
        self.offloads = Offloads::None;
        Ok(())
    }

    /// Whether what others leave to do can be written here.
    #[must_use]
    pub const fn takes_offloads(&self) -> bool {
        self.header > 0
    }

    /// Waits for a frame, and gives what is said of it; none where that contradicts itself.
    ///
    /// # Errors
    /// What the kernel says; after [`is_gone`] there is nothing more.
    pub fn read(&self, room: &mut Room) -> io::Result<Option<Offload>> {
        let link = self.link();
        let length = loop {
            match read(&self.fd, room.before(self.header + link)) {
                Ok(length) => break length,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        room.fill(length, self.header, link);
        if self.header == 0 {
            return Ok(Some(Offload::default()));
        }
        let header = room.header();
        Ok(header.and_then(|header| Offload::read(header, link)))
    }

    /// Sends a whole frame of ours, link header and all.
    ///
    /// # Errors
    /// What the device says; the frame is lost.
    pub fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        let said = [0; HEADER_MOST];
        let parts = [IoSlice::new(&said[..self.header]), IoSlice::new(frame)];
        writev(&self.fd, &parts)?;
        Ok(())
    }

    const fn link(&self) -> usize {
        match self.layer {
            Layer::Ip => 0,
            Layer::Ethernet => LINK,
        }
    }

    /// Each kernel takes more of them than the one before; some are refused all together.
    fn offer(&mut self) -> Result<(), PortError> {
        let offers = [
            (SEGMENTS | DATAGRAMS, Offloads::Uso),
            (SEGMENTS, Offloads::Tso),
            (0, Offloads::None),
        ];
        let mut refused = Errno::EINVAL.into();
        for (flags, offloads) in offers {
            match sys::offer(self.fd.as_fd(), flags) {
                Ok(()) => {
                    self.offloads = offloads;
                    return Ok(());
                }
                Err(error) => refused = error,
            }
        }
        Err(self.unasked(refused))
    }

    fn unasked(&self, source: io::Error) -> PortError {
        PortError::Offloads {
            name: self.name.clone(),
            source,
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether an error of reading or writing says that the device was removed, and not that it is down or
/// that one packet is bad.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    // A read that waits ends with EFAULT when the queue is taken away (`tun_ring_recv`).
    matches!(errno, Some(Errno::EBADFD | Errno::EFAULT | Errno::EBADF))
}

impl Wire for Port {
    fn send(&self, hop: Hop, offload: Offload, parts: &[&[u8]]) -> io::Result<()> {
        let (mut said, mut link) = ([0; HEADER_MOST], [0; LINK]);
        said[..Offload::HEADER].copy_from_slice(&offload.bytes(self.link()));
        let mut all = [IoSlice::new(&[]); PARTS_MOST + 2];
        let mut used = 0;
        let mut add = |part| {
            let place = all.get_mut(used).ok_or(io::ErrorKind::InvalidInput)?;
            *place = IoSlice::new(part);
            used += 1;
            io::Result::Ok(())
        };
        if self.header > 0 {
            add(&said[..self.header])?;
        } else if offload.partial.is_some() || offload.gso.is_some() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match (self.layer, hop) {
            (Layer::Ip, _) => {}
            (Layer::Ethernet, Hop::Host) => return Err(io::ErrorKind::InvalidInput.into()),
            (Layer::Ethernet, Hop::Station(station)) => {
                let version = parts.first().and_then(|part| part.first());
                let kind: u16 = match version.map(|byte| byte >> 4) {
                    Some(6) => 0x86dd,
                    _ => 0x0800,
                };
                link[..6].copy_from_slice(&station);
                link[6..12].copy_from_slice(&GATEWAY);
                link[12..].copy_from_slice(&kind.to_be_bytes());
                add(&link)?;
            }
        }
        for part in parts {
            add(part)?;
        }
        loop {
            match writev(&self.fd, &all[..used]) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn longest(&self) -> usize {
        self.mtu
    }

    fn completes_checksums(&self) -> bool {
        self.takes_offloads()
    }

    fn cuts_datagrams(&self) -> bool {
        self.offloads == Offloads::Uso
    }
}

/// The length of an Ethernet header.
const LINK: usize = 14;

/// The longest header before a frame that a kernel has.
const HEADER_MOST: usize = 24;

/// In how many parts a packet may be sent.
const PARTS_MOST: usize = 6;

/// `TUN_F_CSUM`, `TUN_F_TSO4`, `TUN_F_TSO6` and `TUN_F_TSO_ECN`.
const SEGMENTS: u32 = 0x01 | 0x02 | 0x04 | 0x08;

/// `TUN_F_USO4` and `TUN_F_USO6`.
const DATAGRAMS: u32 = 0x20 | 0x40;
