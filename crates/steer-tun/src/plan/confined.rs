//! The plan without privilege: a device in namespaces of the command's own, which is their only way
//! out. No packet filter is needed there, since there is nothing to choose.

use steer_core::address::Protocol;
use steer_core::host::{Host, Presence};
use steer_core::intent::{Dns, Echo, Intent, Scope};
use steer_core::key::Key;
use steer_core::masks;
use steer_core::method::Method;
use steer_core::object::{ChildSetting, Layer, MAIN_TABLE, Namespace, Object, Route};
use steer_core::plan::{Life, Netns, Plan};
use steer_core::requirement::Requirement;
use steer_core::steerer::PlanError;
use steer_core::symbol::{ProcessRef, TableRef};

use steer_rules::listeners;
use steer_rules::rules::traffic;
use steer_rules::rules::way::Way;

use super::{devices, with_listener};
use crate::notes;

/// Whether this host's own network cannot be changed, and a command is all that is meant.
pub(crate) fn is_meant(intent: &Intent, host: &Host, layer: Layer) -> bool {
    layer == Layer::Ip
        && !intent.link.chooses()
        && intent.scope == Scope::command()
        && matches!(host.net_admin, Presence::Absent(_))
}

/// The plan of an intent that was admitted.
pub(super) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    traffic::check(intent, host, &Way::Local)?;
    let mut plan = Plan::new(Method::Tun);
    let namespace = Namespace {
        addresses: Vec::new(),
        masked: masks::paths(host),
    };
    plan.push(Life::Support, Object::Namespace(namespace));

    let mut inside = with_listener(intent, host, Layer::Ip);
    inside.push(Life::Steer, devices::inner(intent, host, false));
    for family in listeners::usable(host) {
        let route = Route {
            family,
            net: None,
            table: TableRef::Fixed(MAIN_TABLE),
            to: devices::leads(intent, Layer::Ip, family),
        };
        inside.push(Life::Steer, Object::Route(route));
    }
    for planned in &mut inside.objects {
        planned.netns = Netns::New;
    }
    let mut plan = plan.join(inside);

    for setting in [
        ChildSetting::Enter(ProcessRef::Holder),
        ChildSetting::confined_families(),
    ] {
        plan.push(Life::Steer, Object::Child(setting));
    }
    notes::confined(intent, host, &mut plan);
    Ok(plan)
}

/// What it needs of a host.
pub(crate) fn requirements(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let mut needs = vec![device(host), namespaces(host)];
    needs.extend(privilege(intent, host));
    needs.extend(resolver(intent, host));
    needs
}

fn device(host: &Host) -> Requirement {
    Requirement::new(
        "devices whose packets a program reads (/dev/net/tun)",
        host.tun.clone(),
        "let users have them, as root: `modprobe tun && chmod a+rw /dev/net/tun` (it gives no right \
         over networks that are not theirs); for a container, `--device /dev/net/tun`; or choose \
         `-m netns`, which needs no device",
    )
}

fn namespaces(host: &Host) -> Requirement {
    Requirement::new(
        "user namespaces, without CAP_NET_ADMIN",
        host.user_namespaces.clone(),
        "where a sysctl is named, give it another value as root (`sysctl -w NAME=VALUE`: 15000 for a \
         limit, 1 for kernel.unprivileged_userns_clone, 0 for \
         kernel.apparmor_restrict_unprivileged_userns); run steer as root (`sudo steer …`); or choose \
         `-m seccomp`, which needs neither",
    )
}

/// The privilege that written keys need which choose: what is inside has no other way out.
fn privilege(intent: &Intent, host: &Host) -> Option<Requirement> {
    let protocols = &intent.traffic.include.protocols;
    let one_alone = !protocols.is_empty() && !Protocol::ALL.iter().all(|p| protocols.contains(p));
    let pings = intent.link.echo == Some(Echo::Forward);
    let mut keys = intent.keys();
    keys.retain(|key| match key {
        Key::Tcp | Key::Udp => one_alone,
        Key::DeviceEcho => pings,
        key => !HONOURED.contains(key),
    });
    if keys.is_empty() {
        return None;
    }
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Some(Requirement::new(
        format!("CAP_NET_ADMIN, for {}", names.join(", ")),
        host.net_admin.clone(),
        "run it as root (`sudo steer …`), or leave it out: without privilege everything of the command \
         comes by the device, and the engine sends no pings; `rules` with `action: direct` pass \
         connections on as they are, and `-m netns` honours some keys more",
    ))
}

/// A resolver that queries get to by the device. Who has written `leave` has been told.
fn resolver(intent: &Intent, host: &Host) -> Option<Requirement> {
    let told = host
        .resolvers
        .iter()
        .find(|ip| ip.to_canonical().is_loopback());
    let why = match told {
        Some(here) => format!("programs are told to ask {here}, and loopback is the command's own"),
        None if host.resolvers.is_empty() => {
            "programs are told none, and then ask at loopback, which is the command's own"
                .to_owned()
        }
        None => return None,
    };
    (intent.traffic.dns != Some(Dns::Leave)).then(|| {
        Requirement::new(
            "a resolver outside this host",
            Presence::Absent(why),
            "name another one in /etc/resolv.conf; or choose `-m netns`, which brings queries to any \
             resolver to the engine; or write `traffic.dns: leave` for a command that looks no names \
             up",
        )
    })
}

/// Keys that mean the same where there is no other way, or nothing.
const HONOURED: [Key; 12] = [
    Key::Command,
    Key::LoopbackSkip,
    Key::DnsLeave,
    Key::DnsCapture,
    Key::QuicSteer,
    Key::Closed,
    Key::ListenOutbound,
    Key::DeviceMtu,
    Key::DeviceQueues,
    Key::DeviceEcho,
    Key::Resolver,
    Key::FakeIp,
];
