//! Where what the hooks send comes out.
//!
//! ```text
//! TCP   listener ─> Streams ──(getsockname: a token)──────────┐
//! UDP   listener ─> DatagramIntake ──(address sent to: a token)┴─> Tokens ─> Steered
//! in    listener ─> Inbound ──(getsockname: the destination)────────────────> Steered
//! of another proxy: nothing, and Chores all the same ──> Idle
//! other network namespaces:  Places ─> the same inside each ─> Everywhere ──> Steered
//! ```

mod chores;
mod container;
mod datagrams;
mod everywhere;
mod identity;
mod idle;
mod inbound;
mod maps;
mod namespace;
mod overflow;
mod places;
mod process;
mod streams;
mod sweep;
mod tokens;
mod tries;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use steer_core::address::Family;
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::Intent;
use steer_core::netns::{Inside, MakeSockets as _, SocketKind, SocketWish};
use steer_core::object::Binding;

use chores::Chores;
use everywhere::Everywhere;
use idle::Idle;
use inbound::Inbound;
use maps::Maps;
use places::{Places, Want};
use streams::Streams;

/// What a listener of a plan brings.
pub(crate) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    let maps = Maps::new(bound.shared);
    if let Sockets::Control(listener) = bound.sockets {
        return Ok(Box::new(Idle::new(listener, &maps)?));
    }
    if bound.listener.binding == Binding::Own {
        let inside = Inside::of(&bound.netns)?;
        return Ok(Box::new(Inbound::new(bound.sockets, &maps, &inside)?));
    }
    let inside = Inside::of(&bound.netns)?;
    let want = Want::new(intent, bound.listener);
    show(&want, &inside)?;
    let here = take(&want, &maps, bound.sockets, &inside)?;
    let (places, is_first) = Places::join(intent, &maps)?;
    let chores = match is_first {
        true => Some(Chores::start(&maps, &places)?),
        false => None,
    };
    Ok(Box::new(Everywhere::new(here, want, maps, &places, chores)))
}

/// Has the hooks know this process as the engine's, where they see its calls: the raw sockets that
/// it answers by are not to be refused with those of programs.
fn show(want: &Want, inside: &Inside) -> io::Result<()> {
    let socket = inside.make(&SocketWish {
        family: Family::V4,
        kind: SocketKind::Datagram,
        binding: Binding::Own,
        mark: Some(want.bypass),
        bind: None,
    })?;
    // Nothing is sent. Whether there is a way does not matter: hooks are asked before.
    let _ = UdpSocket::from(socket).connect((Ipv4Addr::LOCALHOST, DISCARD));
    Ok(())
}

/// RFC 863.
const DISCARD: u16 = 9;

/// What comes to the sockets of one namespace.
fn take(
    want: &Want,
    maps: &Maps,
    sockets: Sockets,
    inside: &Inside,
) -> io::Result<Box<dyn Intake>> {
    Ok(match sockets {
        Sockets::Tcp(listeners) => Box::new(Streams::new(want, maps, listeners)?),
        Sockets::Udp(sockets) => datagrams::intake(want, maps, sockets, inside)?,
        Sockets::Control(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}
