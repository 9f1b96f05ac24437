//! Dials into the namespaces of a command, for ports that are published.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use steer::core::address::{Family, HostName};
use steer::core::intake::Bound;
use steer::core::intent::{Dial, Intent};
use steer::core::policy::{Action, Condition, Policy, Rule};
use steer::proxy::engine::{Engine, EngineBuilder};
use steer::proxy::upstream::{MadeSockets, Resolver};
use steer::registry;

/// The engine of connections that lead in; none where no listener does.
///
/// Rules are for what the command sends, so that none is asked here; the record says `publish`.
pub(crate) fn engine(intent: &Intent, bound: &[Bound]) -> Option<EngineBuilder> {
    let inside = bound.iter().find_map(|bound| bound.inside.clone())?;
    bound.iter().any(leads_in).then(|| {
        let publish = Rule {
            name: "publish".to_owned(),
            condition: Condition::default(),
            action: Action::Direct,
            http: Default::default(),
            tls: Default::default(),
        };
        let policy = Policy {
            upstreams: Vec::new(),
            rules: vec![publish],
            ..Policy::default()
        };
        Engine::builder(policy)
            .sockets(MadeSockets::new(inside, intent.bypass))
            .resolver(Arc::new(Loopback) as Arc<dyn Resolver>)
    })
}

/// Whether what comes to a listener is dialled inside.
pub(crate) fn leads_in(bound: &Bound) -> bool {
    let steerer = registry::find(bound.listener.method);
    steerer.is_some_and(|steerer| steerer.dials(&bound.listener) == Dial::Inside)
}

/// Every name is the command itself.
#[derive(Debug)]
struct Loopback;

#[async_trait]
impl Resolver for Loopback {
    async fn resolve(&self, _host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        let at = |family: Family| SocketAddr::new(family.loopback(), port);
        Ok(Family::ALL.map(at).to_vec())
    }
}
