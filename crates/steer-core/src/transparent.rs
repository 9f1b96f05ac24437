//! Intakes of transparent listeners, to which packets come with the destination that the program
//! asked for.
//!
//! ```text
//! TCP  listener ─> Connections ─(getsockname)──────────> Steered
//! UDP  listener ─> DatagramIntake ─(IP_RECVORIGDSTADDR)─> Steered, with a socket a flow
//! ```

mod datagrams;
mod origin;

use std::io;
use std::sync::Arc;

use crate::accept::Acceptor;
use crate::connections::{Connections, Owner};
use crate::datagram::DatagramIntake;
use crate::intake::{Bound, Intake, Sockets};
use crate::intent::Intent;
use crate::netns::MakeSockets;
use crate::policy::App;

use datagrams::{Own, Transparent};

/// What a transparent listener brings; `inside` makes the sockets that answer datagrams, and
/// `owner` tells who opened a connection.
///
/// Call it within a runtime.
///
/// # Errors
/// A socket cannot be made or set: marks and foreign addresses need CAP_NET_ADMIN over the
/// listener's namespace.
pub fn intake(
    intent: &Intent,
    bound: Bound,
    inside: Arc<dyn MakeSockets>,
    owner: Owner,
) -> io::Result<Box<dyn Intake>> {
    bound.sockets.mark(intent.bypass)?;
    let (method, app) = (bound.listener.method, bound.listener.app);
    let addresses = bound.sockets.addresses()?;
    Ok(match bound.sockets {
        Sockets::Tcp(listeners) => {
            let ask = Box::new(move |_: &_, local| Ok(origin::of_any(local, &addresses)));
            let acceptor = Acceptor::new(listeners)?;
            Box::new(Connections::new(acceptor, ask, owner, method, app))
        }
        Sockets::Udp(sockets) => {
            let own = match app {
                Some(App::Dns) => Own::None,
                _ => Own::Sockets,
            };
            let ends = Transparent::new(addresses, inside, intent.answer_mark(), own)?;
            Box::new(DatagramIntake::new(sockets, ends, method, app)?)
        }
        Sockets::Control(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}
