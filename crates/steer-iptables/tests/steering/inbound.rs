//! What comes in to servers of the host.

use lab::{Family, Lab, Service};
use steer_core::intent::Selector;
use steer_iptables::{Redirect, Tproxy};

use crate::engine::{BACKENDS, Engine, goes_direct, of};

#[test]
fn what_comes_in_is_taken_and_what_goes_out_is_not() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for backend in BACKENDS {
        for udp_too in [false, true] {
            let lab = Lab::new("inb");
            let (net, srv) = (lab.host("net"), lab.host("srv"));
            lab.link(&net, &srv);
            let (tcp, udp) = (srv.serve(7, Service::Echo), srv.serve_udp(7));
            let (_far_tcp, _far_udp) = (net.serve(7, Service::Echo), net.serve_udp(7));
            let mut intent = of(Selector {
                inbound: true,
                ..Selector::default()
            });
            intent.backend = Some(backend);
            let engine = match udp_too {
                true => Engine::start(&srv, &Tproxy, &intent),
                false => Engine::start(&srv, &Redirect, &intent),
            };
            for family in Family::BOTH {
                let to = srv.at(family, 7);
                let came = engine.takes_tcp(&net, to);
                assert_eq!(came.client.ip(), net.address(family));
                if udp_too {
                    engine.takes_udp(&net, to);
                }
                assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0));
            }
            for family in Family::BOTH {
                goes_direct(&srv, net.at(family, 7));
                goes_direct(&srv, (family.loopback(), 7).into());
            }
        }
    }
}
