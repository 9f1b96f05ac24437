//! The queues of a device: descriptors, whose last close takes the device with it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;
use steer_core::object::{Device, DeviceQueue, Layer, Offloads};

use super::fault::Fault;
use crate::sys::tun;

/// What we hold of a device.
#[derive(Debug)]
pub(super) struct Queues {
    offloads: Offloads,
    fds: BTreeMap<u16, OwnedFd>,
}

impl Queues {
    /// Makes a device in the calling thread's namespace, which no other has the name of.
    pub(super) fn create(device: &Device) -> Result<Self, Fault> {
        let first = open()?;
        let kind = match device.layer {
            Layer::Ip => libc::IFF_TUN,
            Layer::Ethernet => libc::IFF_TAP,
        };
        let plain = flags(kind | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE);
        let header = flags(libc::IFF_VNET_HDR);
        // To ask for a device that there is would join it.
        let first_only = flags(libc::IFF_TUN_EXCL);
        let name = &device.name;
        tun::set_interface(first.as_fd(), name, plain | header | first_only)
            .map_err(Fault::Create)?;
        let mut offloads = offload(&first);
        let mut chosen = plain | header;
        let first = match offloads {
            Offloads::None => {
                // A header that never says anything costs a copy.
                drop(first);
                chosen = plain;
                let first = open()?;
                tun::set_interface(first.as_fd(), name, plain | first_only)
                    .map_err(Fault::Create)?;
                offloads = Offloads::None;
                first
            }
            _ => first,
        };
        let mut fds = BTreeMap::from([(0, first)]);
        for queue in 1..device.queues {
            let fd = open()?;
            tun::set_interface(fd.as_fd(), name, chosen).map_err(Fault::Create)?;
            fds.insert(queue, fd);
        }
        Ok(Self { offloads, fds })
    }

    /// Queues that somebody else holds as well.
    pub(super) const fn empty(offloads: Offloads) -> Self {
        Self {
            offloads,
            fds: BTreeMap::new(),
        }
    }

    /// Takes a queue over.
    pub(super) fn insert(&mut self, queue: u16, fd: OwnedFd) {
        self.fds.insert(queue, fd);
    }

    /// What the device is called; `None` once it is gone.
    pub(super) fn name(&self) -> Option<String> {
        let (_, fd) = self.fds.first_key_value()?;
        // The descriptor of a device that was removed is in a bad state (EBADFD).
        tun::interface(fd.as_fd()).ok().map(|(name, _)| name)
    }

    /// Duplicates of the descriptors, each with what it is called.
    pub(super) fn duplicates(&self, name: &str) -> io::Result<Vec<(DeviceQueue, OwnedFd)>> {
        let duplicate = |(queue, fd): (&u16, &OwnedFd)| {
            let label = DeviceQueue {
                name: name.to_owned(),
                queue: *queue,
                offloads: self.offloads,
            };
            Ok((label, fd.as_fd().try_clone_to_owned()?))
        };
        self.fds.iter().map(duplicate).collect()
    }
}

/// The most that the kernel leaves to whoever reads the device.
fn offload(fd: &OwnedFd) -> Offloads {
    let takes = |wish: &Offloads| tun::set_offloads(fd.as_fd(), features(*wish)).is_ok();
    let most = Offloads::ALL.into_iter().find(takes);
    most.unwrap_or(Offloads::None)
}

const fn features(offloads: Offloads) -> u32 {
    let checksum = libc::TUN_F_CSUM;
    let segments = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    match offloads {
        Offloads::None => 0,
        Offloads::Checksum => checksum,
        Offloads::Tso => checksum | segments,
        Offloads::Uso => checksum | segments | libc::TUN_F_USO4 | libc::TUN_F_USO6,
    }
}

/// A descriptor that blocks: its readers are threads, which have nothing else to wait for.
fn open() -> Result<OwnedFd, Fault> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(PATH);
    match file {
        Ok(file) => Ok(file.into()),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or_default();
            Err(Fault::Open(Errno::from_raw(errno)))
        }
    }
}

fn flags(bits: libc::c_int) -> u16 {
    u16::try_from(bits).expect("the flags of devices are 16 bits")
}

/// Where such devices are made.
pub(crate) const PATH: &str = "/dev/net/tun";
