//! What is done for an intent: devices, and what brings packets there.
//!
//! ```text
//! intent ─┬─ scope ───────────────> steered: rules mark, routes lead to the device
//!         ├─ the same, no privilege > confined: the only way out of namespaces of the command's own
//!         └─ device.fd, .bridge ──> given: others bring packets
//! ```

use steer_core::address::Protocol;
use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::object::{Binding, Layer, device_address};
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;

use steer_rules::listeners::{self, Entry, Port};

pub(crate) mod confined;
mod devices;
mod given;
mod rules;
mod steered;

/// The plan of an intent that was admitted, with clients at a device of the layer.
pub(crate) fn make(intent: &Intent, host: &Host, layer: Layer) -> Result<Plan, PlanError> {
    match intent.link.chooses() {
        true => given::make(intent, host, layer),
        false if confined::is_meant(intent, host, layer) => confined::make(intent, host),
        false => steered::make(intent, host, layer),
    }
}

const fn method(layer: Layer) -> Method {
    match layer {
        Layer::Ip => Method::Tun,
        Layer::Ethernet => Method::Tap,
    }
}

/// The plan with the one listener that connections come to, whatever their destination. Datagrams
/// have none: they are read from the device.
fn with_listener(intent: &Intent, host: &Host, layer: Layer) -> Plan {
    let mut plan = Plan::new(method(layer));
    let addresses: Vec<_> = listeners::usable(host)
        .into_iter()
        .map(device_address)
        .collect();
    let port = Port {
        entry: Entry::Outbound,
        protocol: Protocol::Tcp,
    };
    let binding = Binding::Device;
    for object in listeners::objects(intent, method(layer), &[port], &addresses, binding) {
        plan.push(Life::Steer, object);
    }
    plan
}
