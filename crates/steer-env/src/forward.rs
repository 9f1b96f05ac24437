//! Ports that go to one destination each, for programs that can only be given another address.

use steer_core::address::{Destination, Protocol};
use steer_core::intent::{Forward, Intent};
use steer_core::method::Method;
use steer_core::object::{Binding, Listener, Object};
use steer_core::plan::{Life, Plan};
use steer_core::symbol::ListenerId;

/// A plan of the intent's `forward` ports alone, to join to another method's.
///
/// [`Explicit`](crate::Explicit) and [`Env`](crate::Env) serve its listeners; `method` is the
/// one that records name.
///
/// ```
/// use steer_core::{instance::Instance, intent::{Forward, Intent, Scope}, method::Method};
/// let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
/// intent.forward.push(Forward {
///     listen: "127.0.0.1:15432".parse().unwrap(),
///     to: "db.internal:5432".parse().unwrap(),
///     upstream: None,
///     proxy_protocol: Vec::new(),
/// });
/// let plan = steer_env::forward_plan(&intent, Method::Explicit).to_string();
/// assert!(plan.contains("127.0.0.1:15432") && plan.contains("to db.internal:5432"), "{plan}");
/// ```
#[must_use]
pub fn forward_plan(intent: &Intent, method: Method) -> Plan {
    let mut plan = Plan::new(method);
    for (index, forward) in intent.forward.iter().enumerate() {
        let port = forward.listen.port();
        let listener = Listener {
            id: id(index),
            method,
            protocol: Protocol::Tcp,
            addresses: vec![forward.listen.ip()],
            port: (port > 0).then_some(port),
            to: Some(forward.to.clone()),
            binding: Binding::Own,
            app: None,
        };
        plan.push(Life::Steer, Object::Listener(listener));
    }
    plan
}

/// Where every connection of a port goes.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    /// The destination.
    pub(crate) destination: Destination,
    /// The upstream that is prescribed.
    pub(crate) upstream: Option<String>,
}

/// What was written of a forward listener.
pub(crate) fn written<'i>(intent: &'i Intent, listener: &ListenerId) -> Option<&'i Forward> {
    let mut forwards = intent.forward.iter().enumerate();
    forwards
        .find(|(index, _)| id(*index) == *listener)
        .map(|(_, forward)| forward)
}

fn id(index: usize) -> ListenerId {
    ListenerId(format!("forward{}", index + 1))
}
