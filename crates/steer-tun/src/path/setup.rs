//! What a path is made of.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use steer_core::address::Family;
use steer_core::intent::Echo;
use steer_core::method::Method;
use steer_core::object::device_address;
use steer_core::steered::Steered;
use tokio::sync::mpsc;

use super::Path;
use super::ends::Ends;
use super::tcp::Tcp;
use crate::flows::{Flows, Key};
use crate::fragments::{FragmentLimits, Fragments};
use crate::icmp::{Errors, Forward, Icmp, IcmpSetup, Inner, Inside};
use crate::out::Out;
use crate::packet::Counters;
use crate::udp::{Udp, UdpLimits};
use crate::wire::Wire;

/// What a path is made of.
#[derive(Debug)]
pub struct Setup {
    /// The method, for the record.
    pub method: Method,
    /// The connections of TCP.
    pub flows: Arc<Flows>,
    /// Where flows of datagrams go.
    pub new_flows: mpsc::Sender<Steered>,
    /// The way to the clients.
    pub outer: Arc<dyn Wire>,
    /// The way to the kernel's own end of connections.
    pub inner: Arc<dyn Wire>,
    /// The engine's addresses on the link of the clients.
    pub here: Vec<IpAddr>,
    /// What becomes of echo requests.
    pub echo: Echo,
}

impl Path {
    /// A path that is set up so; `forward` makes what forwards echo requests from the way to the
    /// clients, where that is wanted.
    #[must_use]
    pub fn new(setup: Setup, forward: impl FnOnce(&Arc<Out>) -> Option<Arc<Forward>>) -> Self {
        let Setup {
            method,
            flows,
            new_flows,
            outer,
            inner,
            here,
            echo,
        } = setup;
        let counters = Arc::new(Counters::default());
        let out = Arc::new(Out::new(outer, Arc::clone(&counters)));
        let errors = Arc::new(Errors::new(Arc::clone(&out), here.clone()));
        let udp = Arc::new(Udp::new(
            UdpLimits::default(),
            method,
            new_flows,
            Arc::clone(&out),
            Arc::clone(&errors),
        ));
        let inside = Inside {
            out: Arc::new(Out::new(inner, Arc::clone(&counters))),
            find: find(&flows),
        };
        let icmp = Icmp::new(IcmpSetup {
            echo,
            here: here.clone(),
            forward: forward(&out),
            out,
            errors,
            inside,
            udp: Arc::clone(&udp),
        });
        Self {
            ends: Ends::new(here),
            tcp: Tcp::new(flows),
            udp,
            icmp,
            fragments: Fragments::new(FragmentLimits::default(), Arc::clone(&counters)),
            counters,
        }
    }
}

/// The ends that a client's connection has on the engine's side.
fn find(flows: &Arc<Flows>) -> Box<dyn Fn(SocketAddr, SocketAddr) -> Option<Inner> + Send + Sync> {
    let flows = Arc::clone(flows);
    Box::new(move |client, destination| {
        let flow = flows.of(&Key::new(client, destination))?;
        let listener = device_address(Family::of(client.ip()));
        Some(Inner {
            client: flow.stand_in().address(),
            listener: SocketAddr::new(listener, flows.port()),
        })
    })
}
