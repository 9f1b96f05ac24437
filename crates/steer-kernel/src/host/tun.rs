//! Whether devices can be made whose packets a program reads, and those that were made already.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use steer_core::host::{Descriptor, Presence};
use steer_core::intent::Link;
use steer_core::netns;
use steer_core::object::Layer;

use crate::device::PATH;
use crate::device::link::Links;
use crate::sys::{process, tun};

/// The file by which they are made, opened and closed; what it takes beside is CAP_NET_ADMIN.
pub(super) fn presence() -> Presence {
    match OpenOptions::new().read(true).write(true).open(PATH) {
        Ok(_) => Presence::Present,
        Err(error) => refused(&error),
    }
}

fn refused(error: &io::Error) -> Presence {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let why = match errno {
        Some(Errno::ENOENT) => format!("there is no {PATH}"),
        Some(Errno::ENXIO | Errno::ENODEV) => {
            format!("{PATH} leads to no driver: the kernel has no TUN (CONFIG_TUN)")
        }
        Some(Errno::EACCES | Errno::EPERM) => format!("{PATH} may not be opened: {error}"),
        _ => return Presence::Unknown(format!("{PATH}: {error}")),
    };
    Presence::Absent(why)
}

/// What the descriptor that is written is of.
pub(super) fn descriptors(link: &Link) -> BTreeMap<RawFd, Descriptor> {
    link.fd.iter().map(|fd| (*fd, descriptor(*fd))).collect()
}

fn descriptor(fd: RawFd) -> Descriptor {
    let other = |why: &str| Descriptor::Other(why.to_owned());
    let copy = match process::duplicate(fd) {
        Ok(copy) => copy,
        Err(error) => {
            return match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EBADF) => other("nothing is open there"),
                _ => Descriptor::Other(error.to_string()),
            };
        }
    };
    match tun::interface(copy.as_fd()) {
        Ok((name, _)) if informs(copy.as_fd(), &name) => {
            other("its packets have a header of their own before them (IFF_NO_PI is not set)")
        }
        Ok((name, flags)) => Descriptor::Device {
            name,
            layer: match flags & TAP {
                0 => Layer::Ip,
                _ => Layer::Ethernet,
            },
        },
        // The ioctl's answer where no TUNSETIFF came before.
        Err(Errno::EBADFD) => other("it is of no device yet (TUNSETIFF)"),
        Err(Errno::ENOTTY | Errno::EINVAL) => other("it is of something else"),
        Err(errno) => Descriptor::Other(errno.desc().to_owned()),
    }
}

/// Whether the device's packets have a header of their own; not where that cannot be asked.
fn informs(queue: BorrowedFd<'_>, name: &str) -> bool {
    let Ok(namespace) = tun::namespace(queue) else {
        return false;
    };
    let look = || Links::open().ok()?.find(name).ok()?;
    let link = netns::within(Some(File::from(namespace)), look);
    link.ok().flatten().is_some_and(|link| link.informs)
}

const TAP: u16 = libc::IFF_TAP as u16;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use lab::{Need, require};

    use super::*;

    const NO_PI: u16 = libc::IFF_NO_PI as u16;

    #[test]
    fn root_can_make_devices() {
        if require(&[Need::Root]) {
            assert_eq!(presence(), Presence::Present);
        }
    }

    #[test]
    fn a_descriptor_of_no_device_is_told_as_what_it_is() {
        let of = |fd: RawFd| match descriptor(fd) {
            Descriptor::Other(why) => why,
            device @ Descriptor::Device { .. } => format!("{device:?}"),
        };
        let file = File::open("/").unwrap();
        assert_eq!(of(file.as_raw_fd()), "it is of something else");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(of(socket.as_raw_fd()), "it is of something else");
        assert_eq!(of(RawFd::MAX), "nothing is open there");
        if require(&[Need::Root]) {
            let fresh = OpenOptions::new().read(true).write(true).open(PATH);
            let told = of(fresh.unwrap().as_raw_fd());
            assert_eq!(told, "it is of no device yet (TUNSETIFF)");
        }
    }

    #[test]
    fn a_device_is_told_by_its_name_and_what_it_carries() {
        if !require(&[Need::Root]) {
            return;
        }
        let inside = || {
            crate::netns::enter_private().unwrap();
            let made = |name: &str, flags: u16| {
                let queue = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(PATH)
                    .unwrap();
                tun::set_interface(queue.as_fd(), name, flags).unwrap();
                descriptor(queue.as_raw_fd())
            };
            let device = |name: &str, layer| Descriptor::Device {
                name: name.to_owned(),
                layer,
            };
            let flags = libc::IFF_TUN as u16;
            assert_eq!(made("one", flags | NO_PI), device("one", Layer::Ip));
            assert_eq!(made("two", TAP | NO_PI), device("two", Layer::Ethernet));
            let told = made("three", flags);
            assert!(matches!(told, Descriptor::Other(why) if why.contains("IFF_NO_PI")));
        };
        std::thread::spawn(inside).join().unwrap();
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let told = |errno: Errno| refused(&errno.into());
        let absent =
            |errno, word| matches!(told(errno), Presence::Absent(why) if why.contains(word));
        assert!(absent(Errno::ENOENT, "no /dev/net/tun"));
        assert!(absent(Errno::ENODEV, "CONFIG_TUN"));
        assert!(absent(Errno::EACCES, "may not be opened"));
        assert!(matches!(told(Errno::EMFILE), Presence::Unknown(_)));
    }
}
