//! Whether devices can be made whose packets a program reads.

use std::fs::OpenOptions;
use std::io;

use nix::errno::Errno;
use steer_core::host::Presence;

use crate::device::PATH;

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

#[cfg(test)]
mod tests {
    use lab::{Need, require};

    use super::*;

    #[test]
    fn root_can_make_devices() {
        if require(&[Need::Root]) {
            assert_eq!(presence(), Presence::Present);
        }
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
