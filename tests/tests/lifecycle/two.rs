//! Several instances on one host.

use std::net::SocketAddr;

use lab::{Agent, Family, Service, Signal, Status};
use steer_tests::Records;

use crate::site::{Means, Site, echoes};

/// Two users, each with an instance of its own: neither takes the other's traffic, and what one
/// engine dials the other leaves alone.
fn beside(first: Means, second: Means) {
    lab::require!(Root, Program("iptables"));
    let site = Site::new("two");
    let server = site.srv.serve(7, Service::Echo);
    let udp = site.srv.serve_udp(9);
    let start = |name: &str, means: Means, uid: u32| {
        let log = site.path(&format!("{name}.json"));
        let text = format!(
            "name: {name}\n{means}scope: {{ uid: {uid} }}\non_failure: closed\n\
             log: {{ connections: {{ file: \"{}\" }} }}\n",
            log.display()
        );
        let config = site.write(&format!("{name}.yaml"), &text);
        let run_dir = site.path("run");
        let up = site
            .steer()
            .env("STEER_RUN_DIR", run_dir)
            .args(["up", "-c"])
            .arg(config)
            .spawn();
        up.wait_line(|line| line.contains("in force"));
        (up, Records::of(log))
    };
    let both = [start("one", first, 2001), start("other", second, 2002)];
    let agents = [2001, 2002, 2003].map(|uid| {
        Agent::start(
            site.app
                .program("env")
                .args(Agent::command_line("agent"))
                .user(uid),
        )
    });
    let ask = |agent: &Agent, to: SocketAddr| {
        let mut client = agent.connect(to).expect("the server listens");
        assert!(echoes(&mut client, b"hello"));
        client.local()
    };
    for family in Family::BOTH {
        let to = site.srv.at(family, 7);
        let locals = agents.each_ref().map(|agent| ask(agent, to));
        let direct: Vec<_> = server.seen().iter().map(|one| one.peer).collect();
        let is_direct = locals.map(|local| direct.contains(&local));
        assert_eq!(is_direct, [false, false, true], "{family:?}");
        for (agent, means) in agents.iter().zip([first, second]) {
            if means.steers_udp() {
                let socket = lab::UdpClient::over(agent.udp(family));
                let at = site.srv.at(family, 9);
                assert_eq!(socket.ask(at, b"hello"), Ok((b"hello".to_vec(), at)));
            }
        }
    }
    let udp_of = |means: Means| usize::from(means.steers_udp()) * 2;
    assert_eq!(udp.seen().len(), udp_of(first) + udp_of(second));
    // One ends, and the other goes on.
    let [one, other] = &both;
    let end = |(up, records): &(lab::Proc, Records), count: usize| {
        up.signal(Signal::SIGTERM);
        assert_eq!(up.wait(), Status::Exited(0), "{}", up.stderr());
        assert_eq!(records.all().len(), count, "{:#?}", records.all());
    };
    end(one, 2 + udp_of(first));
    let local = ask(&agents[1], site.srv.at(Family::V4, 7));
    assert!(
        server.seen().iter().all(|one| one.peer != local),
        "it is steered on"
    );
    end(other, 3 + udp_of(second));
    for agent in agents {
        agent.finish();
    }
    site.assert_untouched();
}

#[test]
fn two_tproxies_share_a_namespace_nft() {
    beside(Means::TproxyNft, Means::TproxyNft);
}

#[test]
fn two_tproxies_share_a_namespace_nft_and_iptables() {
    beside(Means::TproxyNft, Means::TproxyIptables);
}

#[test]
fn a_redirect_and_a_tproxy_share_a_namespace() {
    beside(Means::RedirectNft, Means::TproxyNft);
}

#[test]
fn a_redirect_and_a_tun_share_a_namespace() {
    beside(Means::RedirectNft, Means::Tun);
}

#[test]
fn two_tuns_share_a_namespace() {
    beside(Means::Tun, Means::Tun);
}

#[test]
fn a_tun_and_a_tap_share_a_namespace() {
    beside(Means::Tun, Means::Tap);
}

#[test]
fn a_tproxy_and_a_tun_share_a_namespace() {
    beside(Means::TproxyNft, Means::Tun);
}
