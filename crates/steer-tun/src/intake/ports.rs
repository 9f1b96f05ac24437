//! The descriptors of a plan's devices, by what they are for.

use std::io;
use std::sync::Arc;

use steer_core::intake::Shared;
use steer_core::intent::Link;
use steer_core::object::{DeviceQueue, Layer};

use crate::path::{Lane, Side};
use crate::port::Port;
use crate::sys;

/// The ports of a plan's devices.
#[derive(Debug)]
pub(super) struct Ports {
    /// Where the kernel's own end of connections is; clients too, where there are no others.
    inner: Vec<Arc<Port>>,
    /// Where clients are, where that is another device.
    outer: Vec<Arc<Port>>,
}

impl Ports {
    /// Opens what a driver shares, and the descriptor that was handed in.
    pub(super) fn open(link: &Link, shared: Vec<Shared>) -> io::Result<Self> {
        let mtu = usize::try_from(link.mtu.unwrap_or(MTU)).map_err(io::Error::other)?;
        let mut queues = Vec::new();
        for Shared { label, fd } in shared {
            // What has another label is of another driver.
            if let Ok(queue) = label.parse::<DeviceQueue>() {
                queues.push((queue, Port::open(fd, mtu)?));
            }
        }
        queues.sort_by(|(one, _), (other, _)| one.cmp(other));
        let all = queues.into_iter().map(|(_, port)| port);
        let (mut inner, mut outer): (Vec<Port>, Vec<Port>) =
            all.partition(|port| port.layer() == Layer::Ip);
        if let Some(fd) = link.fd {
            outer.push(Port::open(sys::inherited(fd)?, mtu)?);
        }
        if inner.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the plan has no device through which connections reach the engine",
            ));
        }
        renounce(&mut inner, &mut outer)?;
        let shared = |ports: Vec<Port>| ports.into_iter().map(Arc::new).collect();
        Ok(Self {
            inner: shared(inner),
            outer: shared(outer),
        })
    }

    /// The name of the device that the listener is to be bound to.
    pub(super) fn inner_name(&self) -> &str {
        self.inner[0].name()
    }

    /// The first port to the clients.
    pub(super) fn to_clients(&self) -> &Arc<Port> {
        self.outer.first().unwrap_or(&self.inner[0])
    }

    /// The first port to the kernel's own end.
    pub(super) fn to_kernel(&self) -> &Arc<Port> {
        &self.inner[0]
    }

    /// A lane for each port.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        let Self { inner, outer } = self;
        let lane = |side, port: &Arc<Port>, outer: &Arc<Port>, inner: &Arc<Port>| Lane {
            side,
            port: Arc::clone(port),
            outer: Arc::clone(outer),
            inner: Arc::clone(inner),
        };
        if outer.is_empty() {
            let both = inner.iter().map(|port| lane(Side::Both, port, port, port));
            return both.collect();
        }
        let inwards = outer.iter().zip(inner.iter().cycle());
        let inwards = inwards.map(|(port, to)| lane(Side::Outer, port, port, to));
        let outwards = inner.iter().zip(outer.iter().cycle());
        let outwards = outwards.map(|(port, to)| lane(Side::Inner, port, to, port));
        inwards.chain(outwards).collect()
    }
}

/// What one end leaves to do, the other has to take: where it does not, nothing is left.
fn renounce(inner: &mut [Port], outer: &mut [Port]) -> io::Result<()> {
    let takes = |ports: &[Port]| ports.iter().all(Port::takes_offloads);
    if takes(inner) && takes(outer) {
        return Ok(());
    }
    for port in inner.iter_mut().chain(outer) {
        port.renounce()?;
    }
    Ok(())
}

/// The longest packet where nobody has written one.
pub(super) const MTU: u32 = 1500;
