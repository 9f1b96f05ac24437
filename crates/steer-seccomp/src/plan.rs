//! What is done for an intent.

use steer_core::address::Protocol;
use steer_core::host::Host;
use steer_core::intent::{Dns, Intent, Loopback, Quic, Relay};
use steer_core::method::Method;
use steer_core::object::{Binding, ChildSetting, Listener, Object};
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;
use steer_core::symbol::{ControlRef, ListenerId};

/// The plan of a command that the method can honour.
pub(crate) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    if !intent.scope.command {
        return Err(PlanError::EmptyScope);
    }
    if intent.traffic.exclude.protocols.contains(&Protocol::Tcp) {
        return Err(PlanError::Nothing {
            why: "TCP is left out, and of UDP the method steers nothing".to_owned(),
        });
    }
    let control = ListenerId("control".to_owned());
    let mut plan = Plan::new(Method::Seccomp);
    plan.push(
        Life::Steer,
        Object::Listener(Listener {
            id: control.clone(),
            method: Method::Seccomp,
            protocol: Protocol::Tcp,
            addresses: Vec::new(),
            port: None,
            to: None,
            binding: Binding::Control,
            app: None,
        }),
    );
    plan.push(
        Life::Steer,
        Object::Child(ChildSetting::Families {
            allowed: FAMILIES.to_vec(),
        }),
    );
    plan.push(
        Life::Steer,
        Object::Child(ChildSetting::Supervised {
            control: ControlRef::Listener(control),
        }),
    );
    choices(intent, &mut plan);
    limits(host, &mut plan);
    Ok(plan)
}

/// What is done where the intent leaves it open, or says it.
fn choices(intent: &Intent, plan: &mut Plan) {
    plan.note(match intent.relays() {
        Relay::Always => {
            "every TCP connection passes the engine: the program's socket is connected to it"
        }
        Relay::Needed => {
            "a TCP connection that goes direct and has nothing to be seen is the program's own: \
             the supervisor connects its socket to the destination; others pass the engine"
        }
    });
    let traffic = &intent.traffic;
    if traffic.loopback != Some(Loopback::Steer) {
        plan.note("loopback is left alone");
    } else {
        plan.note("loopback is steered for TCP; datagrams on it are left alone");
    }
    plan.note(match traffic.dns {
        Some(_) => "DNS is left alone: port 53, UDP and TCP",
        None => "DNS over UDP is left alone: port 53; over TCP it is steered",
    });
    let udp_is_in =
        traffic.include.protocols.is_empty() && !traffic.exclude.protocols.contains(&Protocol::Udp);
    if udp_is_in {
        plan.note(match traffic.quic {
            Some(Quic::Leave) => {
                "other UDP than DNS and QUIC (port 443), and ICMP, is refused (ENETUNREACH, EPIPE)"
            }
            _ => "other UDP than DNS, QUIC too, and ICMP, is refused (ENETUNREACH, EPIPE)",
        });
    }
    debug_assert_ne!(traffic.dns, Some(Dns::Capture), "a key that is refused");
}

/// What the reader should know.
fn limits(host: &Host, plan: &mut Plan) {
    plan.note(
        "closed by nature: when the supervisor is gone, the calls that came to it fail with ENOSYS: \
         connect and messages with an address, to unix sockets and loopback, too",
    );
    plan.note(
        "steering, not containment: what is left alone is looked at and then made by the kernel, \
         and a hostile thread can change it in between; unix sockets (resolvers, container \
         engines) are not looked at; only `-m netns` contains",
    );
    plan.note(
        "set-user-id programs run without the user id that is theirs (no_new_privs), and \
         processes that cannot be looked at are refused with EPERM",
    );
    if host.uid == 0 {
        plan.note(
            "run as root: raw packets to addresses are refused, but a program that is root can \
             undo steering",
        );
    }
}

/// AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK.
const FAMILIES: [u16; 4] = [1, 2, 10, 16];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seccomp;
    use steer_core::instance::Instance;
    use steer_core::intent::{OnFailure, Scope};
    use steer_core::key::Key;
    use steer_core::steerer::Steerer;

    fn intent() -> Intent {
        Intent::new(Instance::new("main").unwrap(), Scope::command())
    }

    #[test]
    fn the_plan_is_a_control_listener_and_two_filters() {
        let mut host = Host::example();
        host.uid = 1000;
        let text = Seccomp.plan(&intent(), &host).unwrap().to_string();
        assert_eq!(text.trim_end(), include_str!("plan.golden").trim_end());
    }

    #[test]
    fn what_is_written_is_said() {
        let mut wanted = intent();
        wanted.relay = Some(Relay::Always);
        wanted.traffic.loopback = Some(Loopback::Steer);
        wanted.traffic.dns = Some(Dns::Leave);
        wanted.traffic.quic = Some(Quic::Leave);
        let text = Seccomp.plan(&wanted, &Host::example()).unwrap().to_string();
        for said in [
            "every TCP connection passes the engine",
            "loopback is steered for TCP",
            "port 53, UDP and TCP",
            "than DNS and QUIC",
            "run as root",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }

    #[test]
    fn keys_that_cannot_be_honoured_are_refused_by_name() {
        let mut wanted = intent();
        wanted.on_failure = Some(OnFailure::Open);
        wanted.traffic.dns = Some(Dns::Capture);
        wanted.traffic.quic = Some(Quic::Steer);
        wanted.traffic.include.protocols = vec![Protocol::Udp];
        wanted.traffic.exclude.domains = vec!["a.example".parse().unwrap()];
        let refused = Seccomp.plan(&wanted, &Host::example()).unwrap_err();
        let PlanError::Keys { keys, .. } = refused else {
            panic!("{refused}");
        };
        for key in [
            Key::Open,
            Key::DnsCapture,
            Key::QuicSteer,
            Key::Udp,
            Key::ExcludeDomains,
        ] {
            assert!(keys.contains(&key), "{key}");
        }
    }

    #[test]
    fn without_a_command_or_without_tcp_there_is_nothing_to_do() {
        let nobody = Intent::new(Instance::new("main").unwrap(), Scope::default());
        let host = Host::example();
        assert_eq!(Seccomp.plan(&nobody, &host), Err(PlanError::EmptyScope));
        let mut nothing = intent();
        nothing.traffic.exclude.protocols = vec![Protocol::Tcp];
        let refused = Seccomp.plan(&nothing, &host).unwrap_err();
        assert!(matches!(refused, PlanError::Nothing { .. }));
    }

    #[test]
    fn a_host_without_supervision_is_told_what_it_lacks() {
        let mut host = Host::example();
        host.supervision = steer_core::host::Presence::Absent("another supervisor".to_owned());
        let refused = Seccomp.plan(&intent(), &host).unwrap_err();
        assert!(refused.to_string().contains("another supervisor"));
        assert!(refused.help().contains("-m netns"));
    }
}
