//! What comes to a host.

use lab::{Cgroup, Family, Lab, Service};
use steer_core::intent::Scope;

use crate::engine::{Engine, of};

#[test]
fn connections_to_chosen_ports_come_with_both_addresses_and_others_are_left_alone() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-in"), Cgroup::new("ebpf-in"));
    let (client, app) = (lab.host("client"), lab.host("app"));
    lab.link(&client, &app);
    let (taken, left) = (app.serve(80, Service::Echo), app.serve(81, Service::Echo));
    let mut intent = of(&cgroup);
    intent.scope = Scope::default();
    intent.scope.of.inbound = true;
    intent.traffic.loopback = None;
    intent.traffic.include.ports = vec!["80".parse().unwrap()];
    let engine = Engine::start(&app, &intent);
    for family in Family::BOTH {
        let to = app.at(family, 80);
        let mut stream = client.connect(to).unwrap();
        stream.send(b"hello").unwrap();
        assert_eq!(stream.receive(12).as_deref(), Ok(&b"engine:hello"[..]));
        assert_eq!(engine.wait_for(to).client, stream.local());
        for (from, port) in [(&client, 81), (&app, 80)] {
            let mut stream = from.connect(app.at(family, port)).unwrap();
            stream.send(b"hello").unwrap();
            assert_eq!(
                stream.receive(5).as_deref(),
                Ok(&b"hello"[..]),
                "{family:?} {port}"
            );
        }
    }
    assert_eq!(engine.came().len(), 2);
    assert_eq!((taken.seen().len(), left.seen().len()), (2, 2));
}
