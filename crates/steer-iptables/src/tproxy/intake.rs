use std::io;

use steer_core::accept::Acceptor;
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::netns::Inside;
use steer_core::policy::App;

use super::datagrams::{Own, Transparent};
use super::origin;
use crate::connections::Connections;
use crate::datagrams::DatagramIntake;
use crate::owner::Owners;
use crate::sockets;

/// What a listener of a plan brings.
pub(super) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    sockets::mark_all(&bound.sockets, intent.bypass)?;
    let app = bound.listener.app;
    let addresses = bound.sockets.addresses()?;
    Ok(match bound.sockets {
        Sockets::Tcp(listeners) => {
            let owners = Owners::of(intent, &bound.netns)?;
            let ask = Box::new(move |_: &_, local| Ok(origin::of_any(local, &addresses)));
            let acceptor = Acceptor::new(listeners)?;
            Box::new(Connections::new(acceptor, ask, owners, Method::Tproxy, app))
        }
        Sockets::Udp(sockets) => {
            let inside = Inside::of(&bound.netns)?;
            let own = match app {
                Some(App::Dns) => Own::None,
                _ => Own::Sockets,
            };
            let ends = Transparent::new(addresses, inside, sockets::answer_mark(intent), own)?;
            Box::new(DatagramIntake::new(sockets, ends, Method::Tproxy, app)?)
        }
        Sockets::Control(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}
