//! Where the engine holds lifelines, so that its own death closes them last.

use std::io;
use std::os::unix::net::UnixStream;

use steer_core::driver::Lifeline;

use super::wire::{Tag, Wire, lifelines, tags};

/// Lifelines of the engine, in a message to itself that it has not read.
///
/// A dead process's descriptors are closed in no order that can be relied on: the kernel queues
/// them all and works the queue off from its end. A descriptor in an unread message is queued
/// only when the socket that holds the message is closed, and so comes after the whole queue
/// (`task_work_run` of `kernel/task_work.c`). When engine and keeper die together, the kernel has
/// then reset the engine's connections before the rules go that steered them.
#[derive(Debug)]
pub(super) struct Parking {
    door: Wire,
    place: Wire,
    occupied: bool,
}

impl Parking {
    pub(super) fn new() -> io::Result<Self> {
        let (door, place) = UnixStream::pair()?;
        Ok(Self {
            door: Wire::new(door),
            place: Wire::new(place),
            occupied: false,
        })
    }

    /// Replaces the lifelines.
    pub(super) fn put(&mut self, lines: &[Lifeline]) -> io::Result<()> {
        // The last ones close after the ones that replace them are held.
        let _last = self.take()?;
        let (tags, fds) = tags(lines);
        self.door.send(&tags, &fds)?;
        self.occupied = true;
        Ok(())
    }

    /// Takes the lifelines out.
    pub(super) fn take(&mut self) -> io::Result<Vec<Lifeline>> {
        if !std::mem::take(&mut self.occupied) {
            return Ok(Vec::new());
        }
        match self.place.receive::<Vec<Tag>>()? {
            Some((tags, fds)) => Ok(lifelines(tags, fds)),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use steer_core::object::Domain;
    use steer_core::plan::Netns;

    use super::*;

    fn line(fd: impl Into<OwnedFd>) -> Lifeline {
        Lifeline {
            domain: Domain::Nft,
            netns: Netns::Here,
            label: String::new(),
            fd: fd.into(),
        }
    }

    #[test]
    fn what_is_parked_stays_open_until_it_is_replaced_or_dropped() {
        let mut parking = Parking::new().unwrap();
        for replaced in [true, false] {
            let (mut reader, writer) = io::pipe().unwrap();
            let parked = [line(writer)];
            parking.put(&parked).unwrap();
            drop(parked);
            nix::fcntl::fcntl(
                &reader,
                nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
            )
            .unwrap();
            let error = reader.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            match replaced {
                true => parking.put(&[]).unwrap(),
                false => drop(std::mem::replace(&mut parking, Parking::new().unwrap())),
            }
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn what_is_taken_out_is_what_was_put_in() {
        let mut parking = Parking::new().unwrap();
        assert!(parking.take().unwrap().is_empty());
        let (_reader, writer) = io::pipe().unwrap();
        parking.put(&[line(writer)]).unwrap();
        let taken = parking.take().unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].domain, Domain::Nft);
        assert!(parking.take().unwrap().is_empty());
    }
}
