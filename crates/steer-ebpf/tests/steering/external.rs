//! Another proxy in the place of the engine.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use lab::{Cgroup, Lab};
use nix::sys::socket::{getsockopt, sockopt};

use crate::engine::{Engine, agent, of};

#[test]
fn another_proxy_is_told_the_original_destination() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-other"), Cgroup::new("ebpf-other"));
    let app = lab.host("app");
    let [v4, v6] = app.enter(|| {
        let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        v6.set_only_v6(true).unwrap();
        let any: SocketAddr = format!("[::]:{port}").parse().unwrap();
        v6.bind(&any.into()).unwrap();
        v6.listen(8).unwrap();
        [v4, TcpListener::from(v6)]
    });
    let mut intent = of(&cgroup);
    let port = v4.local_addr().unwrap().port();
    intent.listen.external = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let engine = Engine::start(&app, &intent);
    let agent = agent(&app, &cgroup);
    for (listener, to) in [(v4, "203.0.113.7:80"), (v6, "[2001:db8::7]:80")] {
        let to: SocketAddr = to.parse().unwrap();
        let mut client = agent.connect(to).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        // Asked twice, as some do.
        for _ in 0..2 {
            let told: SocketAddr = match to {
                SocketAddr::V4(_) => {
                    let told = getsockopt(&accepted, sockopt::OriginalDst).unwrap();
                    let ip = u32::from_be(told.sin_addr.s_addr);
                    SocketAddr::from((ip.to_be_bytes(), u16::from_be(told.sin_port)))
                }
                SocketAddr::V6(_) => {
                    let told = getsockopt(&accepted, sockopt::Ip6tOriginalDst).unwrap();
                    let ip = told.sin6_addr.s6_addr;
                    SocketAddr::from((ip, u16::from_be(told.sin6_port)))
                }
            };
            assert_eq!(told, to);
        }
        accepted.write_all(b"hello").unwrap();
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    }
    assert!(engine.came().is_empty(), "our engine has no part in it");
}
