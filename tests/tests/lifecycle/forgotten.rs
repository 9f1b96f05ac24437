//! Connections of a command that conntrack is made to forget while they live.

use lab::{End, Family, Host, Service, Status};

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

macro_rules! cases {
    ($($name:ident: $means:ident;)*) => {
        $(#[test]
        fn $name() {
            forgotten(Means::$means);
        })*
    };
}

cases! {
    a_command_s_forgotten_connection_is_reset_redirect_nft: RedirectNft;
    a_command_s_forgotten_connection_is_reset_redirect_iptables: RedirectIptables;
    a_command_s_forgotten_connection_is_reset_redirect_legacy: RedirectLegacy;
    a_command_s_forgotten_connection_is_reset_tproxy_nft: TproxyNft;
    a_command_s_forgotten_connection_is_reset_tproxy_iptables: TproxyIptables;
    a_command_s_forgotten_connection_is_reset_tproxy_legacy: TproxyLegacy;
    a_command_s_forgotten_connection_is_reset_tun: Tun;
    a_command_s_forgotten_connection_is_reset_tap: Tap;
}
