use std::io;

use steer_core::accept::Acceptor;
use steer_core::connections::Connections;
use steer_core::datagram::DatagramIntake;
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::netns::Inside;

use super::datagrams::Redirected;
use super::origin;
use steer_rules::owner;

/// What a listener of a plan brings.
pub(super) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    bound.sockets.mark(intent.bypass)?;
    let app = bound.listener.app;
    Ok(match bound.sockets {
        Sockets::Tcp(listeners) => {
            let owner = owner::of(intent, &bound.netns)?;
            let ask = Box::new(|stream: &_, local| origin::of(stream, local));
            let acceptor = Acceptor::new(listeners)?;
            Box::new(Connections::new(
                acceptor,
                ask,
                owner,
                Method::Redirect,
                app,
            ))
        }
        Sockets::Udp(sockets) => {
            let inside = Inside::of(&bound.netns)?;
            let ends = Redirected::new(&sockets, &inside, intent.bypass)?;
            Box::new(DatagramIntake::new(sockets, ends, Method::Redirect, app)?)
        }
        Sockets::Control(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}
