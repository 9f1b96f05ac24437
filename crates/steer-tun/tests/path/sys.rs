//! A TUN device of somebody else's.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;

/// Opens a TUN device with these flags beside `IFF_TUN | IFF_NO_PI`.
pub(crate) fn tun(name: &str, flags: i32) -> OwnedFd {
    let device = File::options();
    let device = device.clone().read(true).write(true).open("/dev/net/tun");
    let device = device.unwrap();
    // SAFETY: plain numbers and arrays, of which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | flags) as i16;
    // SAFETY: the kernel reads and writes one ifreq, which lives until the call returns.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    device.into()
}
