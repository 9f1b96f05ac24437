//! From where the engine dials, and whom it asks for names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use steer::core::address::{Destination, HostName};
use steer::core::intent::{Dial, Intent};
use steer::core::netns::Inside;
use steer::core::object::{Listener, Object};
use steer::core::plan::{Netns, Plan};
use steer::core::policy::App;
use steer::dns;
use steer::proxy::upstream::{
    HostResolver, InsideSockets, MarkedSockets, PlainSockets, Resolver, SocketFactory,
    SystemResolver,
};

use crate::failure::Failure;
use crate::session::has_host_objects;

/// What makes the engine's sockets: marked where rules are in force, so that none of them steers
/// the engine, and in the namespace of the programs where it dials from there.
pub(crate) fn sockets(intent: &Intent, plan: &Plan) -> Result<Arc<dyn SocketFactory>, Failure> {
    if !has_host_objects(plan) {
        return Ok(Arc::new(PlainSockets));
    }
    let marked = MarkedSockets::new(intent.bypass)
        .map_err(|error| Failure::new(&error, "the engine's sockets need a mark: run as root"))?;
    let joined = plan.objects.iter().map(|planned| &planned.netns);
    match joined.into_iter().find(|netns| **netns != Netns::Here) {
        Some(netns) if intent.dial != Some(Dial::Outside) => {
            let inside = Inside::of(netns).map_err(|error| {
                Failure::new(
                    &error,
                    "entering the namespace needs CAP_SYS_ADMIN: run as root",
                )
            })?;
            Ok(Arc::new(InsideSockets::new(inside, marked)))
        }
        _ => Ok(Arc::new(marked)),
    }
}

/// What looks names up for the engine: the same that queries of programs are passed on to.
///
/// The C library's lookups go by sockets of its own, which nobody marks: where DNS comes to the
/// engine, it would ask itself.
pub(crate) fn resolver(
    intent: &Intent,
    plan: &Plan,
    sockets: &Arc<dyn SocketFactory>,
) -> Result<Arc<dyn Resolver>, Failure> {
    let listeners: Vec<&Listener> = dns_listeners(plan).collect();
    if listeners.is_empty() {
        return Ok(Arc::new(SystemResolver));
    }
    // A listener that passes all on to one resolver was planned with the one that is right.
    let planned = listeners.iter().find_map(|listener| match &listener.to {
        Some(Destination::Addr(to)) => Some(to.addr()),
        _ => None,
    });
    let at_port = |listener: &&&Listener| listener.port == Some(53);
    let ours = listeners.iter().filter(at_port);
    let ours = ours.flat_map(|listener| listener.addresses.iter().copied());
    let chosen = planned.or(intent.resolve.resolver);
    let resolver = HostResolver::new(Arc::clone(sockets), chosen, ours.collect());
    let resolver = resolver.map_err(|error| {
        Failure::new(
            &error,
            "write dns.resolver: ADDRESS, or see that /etc/resolv.conf can be read and names a \
             resolver",
        )
    })?;
    Ok(Arc::new(Careful {
        resolver,
        rebinding: dns::Rebinding::of(intent, plan),
    }))
}

fn dns_listeners(plan: &Plan) -> impl Iterator<Item = &Listener> {
    plan.objects
        .iter()
        .filter_map(|planned| match &planned.object {
            Object::Listener(listener) if listener.app == Some(App::Dns) => Some(listener),
            _ => None,
        })
}

/// Leaves out addresses at which a name has no business: the engine dials them in the place of
/// programs that never saw them.
#[derive(Debug)]
struct Careful {
    resolver: HostResolver,
    rebinding: dns::Rebinding,
}

#[async_trait]
impl Resolver for Careful {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut found = self.resolver.resolve(host, port).await?;
        found.retain(|to| !self.rebinding.leads_astray(host, to.ip()));
        Ok(found)
    }
}
