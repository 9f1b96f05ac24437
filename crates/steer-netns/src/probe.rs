//! Really trying the method: namespaces of its own, and a connection through them.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::Socket;
use steer_core::address::{Destination, Family, OrigDst};
use steer_core::engaged::Engaged;
use steer_core::instance::Instance;
use steer_core::intake::Bound;
use steer_core::intent::{Intent, Scope};
use steer_core::keeper::{EngageError, KeeperError};
use steer_core::netns::{SocketKind, SocketWish};
use steer_core::object::Binding;
use steer_core::steerer::{Evidence, Steerer};
use steer_kernel::confine;

use crate::Netns;

/// Connects from inside to an address of nobody's; it must come out of the method's intake with
/// that destination.
pub(crate) async fn really(intent: &Intent) -> Evidence {
    let bypass = intent.bypass;
    let tried = tokio::task::spawn_blocking(move || attempt(bypass)).await;
    match tried {
        Ok(Ok(())) => Evidence::Works,
        Ok(Err(error)) => Evidence::Fails {
            remedy: remedy(&*error),
            why: told(&*error),
        },
        Err(error) => Evidence::Unknown {
            why: error.to_string(),
        },
    }
}

fn attempt(bypass: steer_core::mark::Mark) -> Result<(), Box<dyn Error + Send + Sync>> {
    let name = Instance::new("probe").expect("a literal name is valid");
    let mut intent = Intent::new(name, Scope::command());
    intent.bypass = bypass;
    let host = steer_kernel::host::observe();
    let plan = Netns.plan(&intent, &host)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let mut engaged = Engaged::engage(confine::spawn()?, &intent, &plan, None)?;
    let streams = |bound: &Bound| matches!(bound.sockets, steer_core::intake::Sockets::Tcp(_));
    let bound = engaged.take_bound().into_iter().find(streams);
    let bound = bound.ok_or("the plan has no listener for connections")?;
    let inside = bound.inside.clone().ok_or("nobody makes sockets inside")?;
    let mut intake = Netns.intake(&intent, bound)?;
    let client = inside.make(&SocketWish {
        family: Family::V4,
        kind: SocketKind::Stream,
        binding: Binding::Own,
        mark: None,
        bind: None,
    })?;
    let target: SocketAddr = TARGET.parse().expect("a literal address is valid");
    let client = connected(client.into(), target)
        .map_err(|error| format!("a connect to {target} was not steered: {error}"))?;
    let arrival = async { tokio::time::timeout(PATIENCE, intake.next()).await };
    let steered = runtime.block_on(arrival)?.ok_or("the intake ended")?;
    drop(client);
    match steered.destination {
        Destination::Addr(to) if to == OrigDst::new(target) => {}
        other => return Err(format!("a connect to {target} was told as {other}").into()),
    }
    drop(steered.flow);
    engaged.release()?;
    Ok(())
}

fn connected(socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// What to do next.
fn remedy(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let engage = error.downcast_ref::<EngageError>().map(EngageError::help);
    let keeper = error.downcast_ref::<KeeperError>().map(KeeperError::help);
    engage
        .or(keeper)
        .unwrap_or_else(|| "run `steer plan -m netns` to see what is missing".to_owned())
}

/// An error with all of its causes.
fn told(error: &(dyn Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A port of an address for documentation (RFC 5737): nobody is there, and nobody is asked.
const TARGET: &str = "203.0.113.1:80";

/// How long a packet may take within one machine.
const PATIENCE: Duration = Duration::from_secs(10);
