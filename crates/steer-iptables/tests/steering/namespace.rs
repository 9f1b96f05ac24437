//! Another network namespace, joined from outside.

use lab::{Family, Lab, Service, Snapshot};
use steer_core::host::Namespace;
use steer_core::intent::{Dns, Selector};
use steer_core::steerer::Steerer;
use steer_iptables::{Redirect, Tproxy};

use crate::engine::{BACKENDS, Engine, far, goes_direct, of, quiet};

#[test]
fn programs_of_a_joined_namespace_are_taken_and_no_others() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    let methods: [&dyn Steerer; 2] = [&Redirect, &Tproxy];
    for method in methods {
        for backend in BACKENDS {
            let lab = Lab::new("join");
            let (pod, node, srv) = (lab.host("pod"), lab.router("node"), lab.host("srv"));
            lab.link(&pod, &node);
            lab.link(&node, &srv);
            let (tcp, udp) = (srv.serve(7, Service::Echo), srv.serve_udp(7));
            let before = [&pod, &node].map(|host| quiet(Snapshot::take(host)));
            let mut intent = of(Selector {
                netns: Some("pod".to_owned()),
                ..Selector::default()
            });
            intent.backend = Some(backend);
            intent.identify = true;
            intent.traffic.dns = Some(Dns::Capture);
            let path = pod.namespace_path().display().to_string();
            let engine = Engine::start_with(&node, method, &intent, |facts| {
                facts.netns.insert("pod".to_owned(), Namespace::At(path));
            });
            for family in Family::BOTH {
                let came = engine.takes_tcp(&pod, srv.at(family, 7));
                assert_eq!(came.uid, Some(0));
                engine.takes_tcp(&pod, (far(family), 443).into());
                assert!(engine.takes_udp(&pod, (far(family), 53).into()).dns);
                if method.method() == steer_core::method::Method::Tproxy {
                    engine.takes_udp(&pod, srv.at(family, 7));
                }
                assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0));
            }
            for family in Family::BOTH {
                goes_direct(&node, srv.at(family, 7));
            }
            drop(engine);
            for (host, before) in [&pod, &node].into_iter().zip(&before) {
                Snapshot::wait_same(host, before, quiet);
            }
        }
    }
}
