//! From where the engine dials, and whom it asks for names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use steer::core::address::{Cidr, HostName};
use steer::core::intent::{Dial, Intent};
use steer::core::netns::Inside;
use steer::core::object::{Listener, Object};
use steer::core::plan::{Netns, Plan, Planned};
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

/// What looks names up for the engine.
///
/// The C library's lookups go by sockets of its own, which nobody marks: where DNS comes to the
/// engine, it would ask itself.
pub(crate) fn resolver(
    intent: &Intent,
    plan: &Plan,
    sockets: &Arc<dyn SocketFactory>,
) -> Result<Arc<dyn Resolver>, Failure> {
    let speaks_dns = |planned: &Planned| {
        matches!(
            &planned.object,
            Object::Listener(Listener {
                app: Some(App::Dns),
                ..
            })
        )
    };
    if !plan.objects.iter().any(speaks_dns) {
        return Ok(Arc::new(SystemResolver));
    }
    let resolver = HostResolver::new(Arc::clone(sockets), intent.resolve.resolver)
        .map_err(|error| Failure::new(&error, "see whether /etc/resolv.conf can be read"))?;
    let pools = intent.resolve.fake.iter().flat_map(|fake| &fake.pools);
    Ok(Arc::new(Careful {
        resolver,
        pools: pools.copied().collect(),
    }))
}

/// Leaves out addresses at which a name has no business: the engine dials them in the place of
/// programs that never saw them.
#[derive(Debug)]
struct Careful {
    resolver: HostResolver,
    pools: Vec<Cidr>,
}

#[async_trait]
impl Resolver for Careful {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut found = self.resolver.resolve(host, port).await?;
        found.retain(|to| !dns::leads_astray(host, to.ip(), &self.pools));
        Ok(found)
    }
}
