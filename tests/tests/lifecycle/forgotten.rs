//! Connections of a command that conntrack is made to forget while they live.

use std::io::{Read, Write};
use std::net::TcpListener;

use lab::{End, Family, Host, Service, Status, eventually};

use crate::site::{Means, OnFailure, Site, echoes};

const SECRET: &[u8] = b"said after conntrack has forgotten the connection";

fn forget(host: &Host) {
    let flush = host.program("conntrack").arg("-F");
    flush.run().expect_success();
}

/// Whether a segment in the middle makes conntrack pick a connection up (`loose`) or is invalid to
/// it: neither way a byte of the command leaves by itself.
fn forgotten(means: Means) {
    lab::require!(
        Namespaces,
        Cgroup2,
        Program("iptables"),
        Program("conntrack")
    );
    for loose in ["0", "1"] {
        for family in Family::BOTH {
            let site = Site::new("forgot");
            let _server = site.srv.serve(7, Service::Echo);
            let witness = site.witness();
            let agent = site.agent(means, OnFailure::Closed);
            let key = "net/netfilter/nf_conntrack_tcp_loose";
            site.app.set_sysctl(key, loose);
            let mut client = agent
                .connect(site.srv.at(family, 7))
                .expect("it is steered");
            assert!(echoes(&mut client, b"once"));
            let local = client.local();
            forget(&site.app);
            // The kernel sends it at once, and the reset is the answer.
            let _ = client.send(SECRET);
            assert_eq!(client.receive_all(), (Vec::new(), End::Reset), "{loose}");
            let left = witness.packets(|p| p.source == local && !p.payload.is_empty());
            assert_eq!(left, [], "{means:?} loose {loose} {family:?}");
            assert_eq!(agent.finish(), Status::Exited(0));
        }
    }
}

/// The server's bytes come first: with them conntrack would take the connection for one that the
/// server opened, and what the command then sends for its answers, which nobody refuses.
fn pushed_to(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("conntrack"), Program("ss"));
    for family in Family::BOTH {
        let site = Site::new("pushed");
        let at = site.srv.at(family, 7);
        let listener = site
            .srv
            .enter(|| TcpListener::bind(at))
            .expect("it is free");
        let witness = site.witness();
        let agent = site.agent(means, OnFailure::Closed);
        let mut client = agent.connect(at).expect("it is steered");
        let (mut server, _) = listener.accept().expect("the engine dials");
        client.send(b"ask").expect("it is connected");
        server.read_exact(&mut [0; 3]).expect("the engine relays");
        let local = client.local();
        forget(&site.app);
        server.write_all(b"pushed").expect("the engine is there");
        eventually("nobody takes what the engine sends", || unsent(&site.app));
        let _ = client.send(SECRET);
        assert_eq!(client.receive_all(), (Vec::new(), End::Reset), "{family:?}");
        let left = witness.packets(|p| p.source == local);
        assert_eq!(left, [], "{means:?} {family:?}");
        assert_eq!(agent.finish(), Status::Exited(0));
    }
}

/// Whether a connection of the host waits for what it sent to be acknowledged.
fn unsent(host: &Host) -> Option<()> {
    let shown = host.program("ss").args(["-tnH", "state", "established"]);
    let shown = shown.run().expect_success();
    let queued = |line: &str| line.split_whitespace().nth(1) == Some("6");
    shown.lines().any(queued).then_some(())
}

macro_rules! cases {
    ($run:ident: $($name:ident: $means:ident;)*) => {
        $(#[test]
        fn $name() {
            $run(Means::$means);
        })*
    };
}

cases! { pushed_to:
    what_a_server_pushes_makes_no_forgotten_connection_its_own_tproxy_nft: TproxyNft;
    what_a_server_pushes_makes_no_forgotten_connection_its_own_tproxy_legacy: TproxyLegacy;
    what_a_server_pushes_makes_no_forgotten_connection_its_own_tun: Tun;
    what_a_server_pushes_makes_no_forgotten_connection_its_own_tap: Tap;
}

cases! { forgotten:
    a_command_s_forgotten_connection_is_reset_redirect_nft: RedirectNft;
    a_command_s_forgotten_connection_is_reset_redirect_iptables: RedirectIptables;
    a_command_s_forgotten_connection_is_reset_redirect_legacy: RedirectLegacy;
    a_command_s_forgotten_connection_is_reset_tproxy_nft: TproxyNft;
    a_command_s_forgotten_connection_is_reset_tproxy_iptables: TproxyIptables;
    a_command_s_forgotten_connection_is_reset_tproxy_legacy: TproxyLegacy;
    a_command_s_forgotten_connection_is_reset_tun: Tun;
    a_command_s_forgotten_connection_is_reset_tap: Tap;
}
