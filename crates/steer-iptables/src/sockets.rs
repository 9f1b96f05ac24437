//! Sockets of the engine's that rules must leave alone.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use steer_core::intake::Sockets;
use steer_core::intent::Intent;
use steer_core::mark::Mark;

/// What the sockets carry that answer datagrams in a destination's name: the usual mark for it, or
/// the bypass mark where marks are written, of whose other bits nothing is known.
pub(crate) fn answer_mark(intent: &Intent) -> Mark {
    match (intent.bypass, intent.steer) {
        (Mark::BYPASS, None) => Mark::ANSWER,
        (bypass, _) => bypass,
    }
}

/// Sets the mark that no rule of ours steers.
pub(crate) fn mark(socket: &impl AsFd, mark: Mark) -> io::Result<()> {
    setsockopt(&socket.as_fd(), sockopt::Mark, &mark.value).map_err(io::Error::from)
}

/// Marks the sockets of a listener. Those that it accepts inherit the mark; without one the kernel
/// may give them that of the packet (`net.ipv4.tcp_fwmark_accept`).
pub(crate) fn mark_all(sockets: &Sockets, bypass: Mark) -> io::Result<()> {
    match sockets {
        Sockets::Tcp(all) => all.iter().try_for_each(|socket| mark(socket, bypass)),
        Sockets::Udp(all) => all.iter().try_for_each(|socket| mark(socket, bypass)),
        Sockets::Control(_) => Ok(()),
    }
}
