//! A family's way from a program's socket to the engine.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::SockRef;
use steer_core::address::Family;

use super::desk::Desk;
use super::hold::Hold;
use super::{Maker, Target, errno};
use crate::sys::socket::disconnect;

/// A family's way from a program's socket to the engine.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) family: Family,
    maker: Maker,
    pub(super) hold: Hold,
}

impl Place {
    pub(super) fn open(maker: &Maker, family: Family) -> io::Result<Self> {
        Ok(Self {
            family,
            maker: maker.clone(),
            hold: Hold::open(maker.clone(), family)?,
        })
    }

    /// Has a socket wait in SYN_SENT, whether it is nonblocking or its call ends without it.
    pub(super) fn hold(&self, program: &SockRef<'_>, target: Target) -> Result<(), Errno> {
        let begun = at_once(program, || self.hold.begin(program, target))?;
        begun.map_err(|e| errno(&e))
    }

    /// Connects a blocking socket, whose call waits, to what this gives; else it is as it was.
    pub(super) fn connect(&self, program: &SockRef<'_>, target: Target) -> io::Result<TcpStream> {
        let desk = is_multipath(program).then(|| Desk::open(&self.maker, self.family));
        let desk = desk.transpose()?;
        let met = match &desk {
            None => self
                .hold(program, target)
                .map_err(io::Error::from)
                .and_then(|()| self.hold.meet(program)),
            Some(desk) => at_desk(desk, program, target),
        };
        let port = desk.as_ref().map_or(self.hold.port(), Desk::port);
        match met {
            Ok(stream) => {
                // The kernel takes note that the connect is over.
                let _ = at_once(program, || program.connect(&target.address(port).into()))?;
                Ok(stream)
            }
            Err(error) => {
                let _ = disconnect(program.as_fd());
                let _ = program.take_error();
                Err(error)
            }
        }
    }
}

fn at_desk(desk: &Desk, program: &SockRef<'_>, target: Target) -> io::Result<TcpStream> {
    let address = target.address(desk.port()).into();
    match at_once(program, || program.connect(&address))? {
        Err(error) if errno(&error) != Errno::EINPROGRESS => Err(error),
        _ => desk.accept(program),
    }
}

/// Two SYNs of Multipath TCP that meet make no connection.
pub(super) fn is_multipath(program: &SockRef<'_>) -> bool {
    program.protocol().ok().flatten() == Some(socket2::Protocol::MPTCP)
}

/// Makes a call with the socket that does not wait.
///
/// The flag is of the open socket, which the program has as well; it is set for this one call, in
/// which the program waits.
fn at_once<T>(program: &SockRef<'_>, call: impl FnOnce() -> T) -> Result<T, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(program.as_fd(), FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_NONBLOCK) {
        return Ok(call());
    }
    fcntl(
        program.as_fd(),
        FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK),
    )?;
    let result = call();
    fcntl(program.as_fd(), FcntlArg::F_SETFL(flags))?;
    Ok(result)
}
