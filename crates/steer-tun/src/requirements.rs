//! What `tun` and `tap` need of a host.

use steer_core::address::Family;
use steer_core::host::{Descriptor, Host, Presence};
use steer_core::intent::{Dns, Intent};
use steer_core::object::Layer;
use steer_core::requirement::Requirement;

use steer_rules::requirements::{common, namespace, net_admin};

use crate::plan::confined;

/// What the intent needs.
pub(crate) fn of(intent: &Intent, host: &Host, layer: Layer) -> Vec<Requirement> {
    if confined::is_meant(intent, host, layer) {
        return confined::requirements(intent, host);
    }
    let mut needs = vec![devices(host)];
    if intent.link.chooses() {
        // No rule of ours is in the way of what others bring there.
        needs.push(net_admin(host));
        needs.extend(namespace(intent, host));
        needs.extend(bridge(intent, host));
        needs.extend(descriptor(intent, host, layer));
    } else {
        needs.extend(common(intent, host));
        needs.extend(forwarding(intent, host));
        needs.extend(resolver(intent, host));
    }
    needs
}

fn devices(host: &Host) -> Requirement {
    Requirement::new(
        "devices whose packets a program reads (/dev/net/tun)",
        host.tun.clone(),
        "make the file: `mkdir -p /dev/net && mknod /dev/net/tun c 10 200 && modprobe tun`; for a \
         container, `--device /dev/net/tun`; or choose `-m tproxy`, which needs no device",
    )
}

fn bridge(intent: &Intent, host: &Host) -> Option<Requirement> {
    let name = intent.link.bridge.as_ref()?;
    let presence = match host.interfaces.iter().find(|i| i.name == *name) {
        Some(interface) if interface.bridge => Presence::Present,
        Some(_) => Presence::Absent("that interface is none".to_owned()),
        None => Presence::Absent("there is no interface of that name".to_owned()),
    };
    Some(Requirement::new(
        format!("the bridge {name}"),
        presence,
        format!(
            "make it: `ip link add {name} type bridge && ip link set {name} up`, or name one that \
             is there (`ip -br link show type bridge`)"
        ),
    ))
}

fn descriptor(intent: &Intent, host: &Host, layer: Layer) -> Option<Requirement> {
    let fd = intent.link.fd?;
    let (presence, remedy) = match host.descriptors.get(&fd) {
        Some(Descriptor::Device { layer: found, .. }) if *found == layer => {
            (Presence::Present, String::new())
        }
        Some(Descriptor::Device { name, layer: found }) => (
            Presence::Absent(format!("{name} is a {found} device")),
            format!("choose `-m {found}`"),
        ),
        Some(Descriptor::Other(why)) => (Presence::Absent(why.clone()), handing(fd)),
        None => (
            Presence::Unknown("it was not looked at".to_owned()),
            handing(fd),
        ),
    };
    let what = format!("a {layer} device at the descriptor {fd}");
    Some(Requirement::new(what, presence, remedy))
}

fn handing(fd: i32) -> String {
    format!(
        "start steer from the program that has made the device (TUNSETIFF with IFF_NO_PI), with its \
         descriptor as number {fd} and without close-on-exec"
    )
}

/// The families that an interface of the scope forwards: what is forwarded alone gets to the device.
pub(crate) fn forwarded(intent: &Intent, host: &Host) -> Vec<Family> {
    let names = &intent.scope.of.interface;
    let of_scope = || host.interfaces.iter().filter(|i| names.contains(&i.name));
    let forwards = |family: &Family| of_scope().any(|i| i.forwards.contains(family));
    Family::ALL.into_iter().filter(forwards).collect()
}

/// One requirement for each interface that packets enter by to be forwarded.
fn forwarding(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let of_scope = |name: &&String| host.interfaces.iter().any(|i| i.name == **name);
    let names = intent.scope.of.interface.iter().filter(of_scope);
    names
        .map(|name| {
            let forwards = host
                .interfaces
                .iter()
                .any(|i| i.name == *name && !i.forwards.is_empty());
            let presence = match forwards {
                true => Presence::Present,
                false => Presence::Absent("it is switched off".to_owned()),
            };
            Requirement::new(
                format!("forwarding at {name}"),
                presence,
                format!(
                    "switch it on: `sysctl net.ipv4.conf.{name}.forwarding=1`, for IPv6 `sysctl \
                     net.ipv6.conf.all.forwarding=1`; or choose `-m tproxy`, which does without"
                ),
            )
        })
        .collect()
}

/// A resolver that queries leave this host for, where they are to be captured.
fn resolver(intent: &Intent, host: &Host) -> Option<Requirement> {
    let programs_ask = intent.scope.of.interface.is_empty();
    let captures = intent.traffic.dns == Some(Dns::Capture);
    let here = host.resolvers.iter().find(|ip| ip.is_loopback());
    (programs_ask && captures).then(|| {
        let presence = match here {
            None => Presence::Present,
            Some(here) => Presence::Absent(format!(
                "programs are told to ask {here}, and what goes to this host's own addresses comes \
                 by no device"
            )),
        };
        Requirement::new(
            "a resolver outside this host, for `traffic.dns: capture`",
            presence,
            "name another one in /etc/resolv.conf, or choose `-m tproxy` or `-m netns`, which \
             capture queries to any",
        )
    })
}
