//! Where what comes by a device comes out.
//!
//! ```text
//! TCP  listener ─> the flow behind the accepted peer ──┐
//! UDP  path ─> channel ────────────────────────────────┴─> Steered
//! ```

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::socket::{setsockopt, sockopt};
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{ClientAddr, Destination, OrigDst};
use steer_core::connections::Owner;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::{Dns, Intent};
use steer_core::method::Method;
use steer_core::policy::App;
use steer_core::steered::{Flow, ResetAnswer, Steered, abort};
use steer_rules::owner;
use tokio::sync::mpsc;

mod ports;
mod start;

use crate::flows::Flows;
use crate::path::Running;

/// What comes by the devices of a plan, whose only listener is `bound`. From here on they are read,
/// until they are gone.
///
/// Call it within a runtime, and once for a steering: every packet is read once.
///
/// # Errors
/// The devices are none that can be read, or the listener cannot be bound to one.
pub fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    // In a namespace of the command's own no rule looks at marks, and none can be set from here.
    if bound.inside.is_none() {
        bound.sockets.mark(intent.bypass)?;
    }
    let Bound {
        listener,
        netns,
        sockets,
        inside,
        shared,
    } = bound;
    let listeners = sockets.streams()?;
    let port = listener.port.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let ports = ports::Ports::open(&intent.link, shared)?;
    for listener in &listeners {
        prepare(listener, ports.inner_name())?;
    }
    let flows = Arc::new(Flows::new(FLOWS_MOST, port));
    let (datagrams_tx, datagrams) = mpsc::channel(WAITING_MOST);
    let acceptor = Acceptor::new(listeners)?;
    let running = start::start(
        intent,
        listener.method,
        &netns,
        &ports,
        &flows,
        datagrams_tx,
    )?;
    Ok(Box::new(FromDevice {
        acceptor,
        flows,
        datagrams,
        owner: match &inside {
            Some(inside) => owner::of_inside(intent, inside)?,
            None => owner::of(intent, &netns)?,
        },
        method: listener.method,
        captures_dns: intent.traffic.dns == Some(Dns::Capture),
        refused: 0,
        running,
    }))
}

/// Connections and datagrams that come by a device.
struct FromDevice {
    acceptor: Acceptor,
    flows: Arc<Flows>,
    datagrams: mpsc::Receiver<Steered>,
    owner: Owner,
    method: Method,
    captures_dns: bool,
    refused: u64,
    running: Running,
}

impl FromDevice {
    /// The steered connection behind an accepted one.
    fn steered(&mut self, accepted: Accepted) -> Option<Steered> {
        let Accepted { stream, client, .. } = accepted;
        let Some(flow) = self.flows.behind(client.0) else {
            // It ended before it was accepted, or somebody reaches the listener who should not.
            self.refused += 1;
            let count = self.refused;
            tracing::debug!(%client, count, "a connection of no flow was refused");
            abort(stream);
            return None;
        };
        let client = ClientAddr(flow.key().client);
        let to = OrigDst::new(flow.key().destination);
        Some(Steered {
            identity: (self.owner)(client, to),
            flow: Flow::Tcp(stream),
            client,
            destination: Destination::Addr(to),
            via: self.method,
            upstream: None,
            app: self.app_of(to),
            inside: None,
            answer: Box::new(ResetAnswer),
        })
    }

    /// What is spoken where the engine converses itself.
    fn app_of(&self, to: OrigDst) -> Option<App> {
        (self.captures_dns && to.addr().port() == DNS).then_some(App::Dns)
    }
}

#[async_trait]
impl Intake for FromDevice {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let accepted = tokio::select! {
                accepted = self.acceptor.accept() => accepted,
                Some(mut steered) = self.datagrams.recv() => {
                    if let Destination::Addr(to) = steered.destination {
                        steered.app = self.app_of(to);
                    }
                    return Some(steered);
                }
            };
            if let Some(steered) = self.steered(accepted) {
                return Some(steered);
            }
        }
    }
}

/// Nothing begins any more; what is under way goes on.
impl Drop for FromDevice {
    fn drop(&mut self) {
        self.running.leave();
    }
}

impl fmt::Debug for FromDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromDevice")
            .field("method", &self.method)
            .field("flows", &self.flows.len())
            .field("refused", &self.refused)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// Has a listener take what comes by the device alone, and its connections go by a control of
/// congestion for a link on which nothing is lost: what they lead to is on this host.
fn prepare(listener: &TcpListener, device: &str) -> io::Result<()> {
    setsockopt(listener, sockopt::BindToDevice, &OsString::from(device))?;
    // A kernel without reno keeps its default, which works.
    let _ = setsockopt(listener, sockopt::TcpCongestion, &OsString::from("reno"));
    Ok(())
}

/// Connections at once.
const FLOWS_MOST: usize = 262_144;

/// First datagrams of flows that wait for the engine.
const WAITING_MOST: usize = 1024;

/// The port of DNS.
const DNS: u16 = 53;
