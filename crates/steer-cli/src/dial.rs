//! From where the engine dials, and whom it asks for names.

pub(crate) mod inward;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use steer::core::address::{Destination, HostName};
use steer::core::intent::{Dial, Dns, Intent};
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

/// What makes the engine's sockets: marked where rules are in force, so that none of them steers
/// the engine, and in the namespace of the programs where it dials from there.
pub(crate) fn sockets(intent: &Intent, plan: &Plan) -> Result<Arc<dyn SocketFactory>, Failure> {
    if !plan.changes_the_host() {
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
    let Some(Asked { chosen, ours }) = asked(intent, plan) else {
        return Ok(Arc::new(SystemResolver));
    };
    let resolver = HostResolver::new(Arc::clone(sockets), chosen, ours);
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

/// Whom the engine asks.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// The only one, where there is one.
    chosen: Option<SocketAddr>,
    /// Where the engine answers itself, which the host's settings may name.
    ours: Vec<IpAddr>,
}

/// `None` where DNS does not come to the engine.
fn asked(intent: &Intent, plan: &Plan) -> Option<Asked> {
    let listeners: Vec<&Listener> = plan
        .objects
        .iter()
        .filter_map(|planned| match &planned.object {
            Object::Listener(listener) if listener.app == Some(App::Dns) => Some(listener),
            _ => None,
        })
        .collect();
    // A listener that passes all on to one resolver was planned with the one that is right.
    let planned = listeners.iter().find_map(|listener| match &listener.to {
        Some(Destination::Addr(to)) => Some(to.addr()),
        _ => None,
    });
    // The settings cannot name another port.
    let ours = listeners
        .iter()
        .filter(|listener| listener.port == Some(53));
    let ours = ours.flat_map(|listener| listener.addresses.iter().copied());
    // One listener may take everything, and queries are told by their port.
    let captures = intent.traffic.dns == Some(Dns::Capture);
    (captures || !listeners.is_empty()).then(|| Asked {
        chosen: planned.or(intent.resolve.resolver),
        ours: ours.collect(),
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

#[cfg(test)]
#[cfg(all(feature = "dns", feature = "redirect"))]
mod tests {
    use steer::core::host::Host;
    use steer::core::instance::Instance;
    use steer::core::intent::Scope;
    use steer::core::method::Method;
    use steer::registry;

    use super::*;

    fn planned(method: Method, intent: &Intent, resolvers: &[&str]) -> Option<Asked> {
        let resolvers = resolvers.iter().map(|ip| ip.parse().unwrap());
        let host = Host {
            resolvers: resolvers.collect(),
            ..Host::example()
        };
        let plan = registry::find(method).unwrap().plan(intent, &host).unwrap();
        asked(intent, &plan)
    }

    #[test]
    fn the_engine_asks_whom_queries_are_passed_on_to_and_never_itself() {
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        assert_eq!(planned(Method::Redirect, &intent, &["192.0.2.53"]), None);
        intent.listen.dns = Some(53);
        intent.traffic.include.domains = vec!["a.example".parse().unwrap()];
        // As the plan says: the method's own address comes first.
        let asked = planned(Method::Dns, &intent, &["127.83.0.1", "192.0.2.53"]).unwrap();
        assert_eq!(asked.chosen, Some("192.0.2.53:53".parse().unwrap()));
        intent.traffic.dns = Some(Dns::Capture);
        let asked = planned(Method::Redirect, &intent, &["127.0.0.1"]).unwrap();
        assert_eq!(asked.chosen, None);
        assert!(asked.ours.contains(&"127.0.0.1".parse().unwrap()));
        intent.resolve.resolver = Some("192.0.2.54:53".parse().unwrap());
        let asked = planned(Method::Redirect, &intent, &["127.0.0.1"]).unwrap();
        assert_eq!(asked.chosen, intent.resolve.resolver);
    }

    /// What it asks would come back to it by the device.
    #[cfg(feature = "tun")]
    #[test]
    fn the_engine_asks_itself_nothing_where_one_listener_takes_everything() {
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        assert_eq!(planned(Method::Tun, &intent, &["192.0.2.53"]), None);
        intent.traffic.dns = Some(Dns::Capture);
        let asked = planned(Method::Tun, &intent, &["192.0.2.53"]);
        assert_eq!(asked.map(|asked| asked.chosen), Some(None));
    }
}
