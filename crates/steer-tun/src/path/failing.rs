//! A device that cannot be read.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::port::is_gone;

/// What is to be done about an error of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Wait until there is something to read.
    Wait,
    /// Stop: the device is gone.
    Stop,
    /// Read the next packet, after some time: the kernel gives up one whose offload it cannot tell.
    GoOn(Duration),
}

/// How often in succession a device could not be read.
#[derive(Debug, Default)]
pub(super) struct Failing {
    times: u32,
}

impl Failing {
    /// A packet was read.
    pub(super) const fn is_over(&mut self) {
        self.times = 0;
    }

    /// None was.
    pub(super) fn because_of(&mut self, error: &io::Error) -> Then {
        match error.raw_os_error().map(Errno::from_raw) {
            // Whoever opened it does not wait.
            Some(Errno::EAGAIN) => Then::Wait,
            _ if is_gone(error) => Then::Stop,
            _ => {
                let pause = PAUSE.saturating_mul(self.times).min(PAUSE_MOST);
                self.times = self.times.saturating_add(1);
                Then::GoOn(pause)
            }
        }
    }

    /// Whether it is time to tell somebody: it lasts, and nobody was told.
    pub(super) const fn is_to_be_told(&self) -> bool {
        self.times == TOLD_AFTER
    }
}

/// How much longer each wait is than the one before.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a wait is at most.
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// How many times in succession are more than some bad packets.
const TOLD_AFTER: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_that_cannot_be_read_does_not_end_reading_and_many_do_not_make_it_spin() {
        let mut failing = Failing::default();
        let error = io::Error::from(Errno::EINVAL);
        assert_eq!(failing.because_of(&error), Then::GoOn(Duration::ZERO));
        let (mut waited, mut told) = (Duration::ZERO, 0);
        for _ in 0..1000 {
            let Then::GoOn(pause) = failing.because_of(&error) else {
                panic!("it reads on");
            };
            assert!(pause > Duration::ZERO && pause <= PAUSE_MOST);
            waited += pause;
            told += u32::from(failing.is_to_be_told());
        }
        assert!(waited > PAUSE_MOST * 900);
        assert_eq!(told, 1);
        failing.is_over();
        assert_eq!(failing.because_of(&error), Then::GoOn(Duration::ZERO));
    }

    #[test]
    fn a_device_that_is_gone_is_told_from_one_that_has_nothing() {
        let mut failing = Failing::default();
        for (errno, then) in [
            (Errno::EAGAIN, Then::Wait),
            (Errno::EBADFD, Then::Stop),
            (Errno::EFAULT, Then::Stop),
            (Errno::EBADF, Then::Stop),
        ] {
            assert_eq!(failing.because_of(&errno.into()), then, "{errno}");
        }
    }
}
