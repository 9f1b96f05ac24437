//! HAProxy in the engine's place, unchanged, and without a rule of any packet filter.

use std::fs;
use std::net::SocketAddr;

use lab::{Family, Proc, Section, Service, Signal, Status, eventually};

use crate::site::{Means, Site, echoes};

/// Who the proxy runs as, whose own connections are not meant.
const PROXY: u32 = 1337;
const PORT: u16 = 15_001;

/// The address 0.0.0.0 of a server means, to HAProxy, the one that the client asked for.
const CONFIG: &str = "\
global
    maxconn 100
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend all
    bind 0.0.0.0:15001
    default_backend asked
backend asked
    server it 0.0.0.0
";

fn haproxy(site: &Site) -> Proc {
    let config = site.write("haproxy.cfg", CONFIG);
    let proxy = site.app.program("haproxy").args(["-db", "-f"]).arg(config);
    let proxy = proxy.user(PROXY).spawn();
    eventually("HAProxy listens", || {
        assert!(proxy.is_running(), "{proxy:#?}");
        // Not by a connection, which it would pass on to itself.
        let read = || fs::read_to_string("/proc/thread-self/net/tcp");
        let table = site.app.enter(read).expect("/proc is mounted");
        let listens = format!(":{PORT:04X} 00000000:0000 0A ");
        table.contains(&listens).then_some(())
    });
    proxy
}

#[test]
fn haproxy_is_told_the_original_destinations() {
    lab::require!(Root, Cgroup2, Program("haproxy"));
    let site = Site::of_host(Means::Ebpf, "haproxy");
    let servers = [7, 8].map(|port| site.srv.serve(port, Service::Echo));
    let proxy = haproxy(&site);
    let up = site.up(&format!(
        "method: ebpf\nscope: {{ host: true, except: {{ uid: {PROXY} }} }}\n\
         listen: {{ external: \"127.0.0.1:{PORT}\" }}\n"
    ));
    let up = up.spawn();
    up.wait_line(|line| line.contains("in force"));
    let witness = site.witness();
    // It asks for the original destination of connections of IPv4 alone.
    let another = Family::V4.foreign(9);
    site.srv.add_address(another);
    for ip in [site.srv.address(Family::V4), another] {
        for server in &servers {
            let to = SocketAddr::new(ip, server.port());
            let mut client = site.app.connect(to).expect("HAProxy takes it");
            assert_eq!(client.peer(), to);
            assert!(echoes(&mut client, b"through HAProxy"), "{to}");
            let seen = server.seen();
            let one = seen.last().expect("it was asked");
            assert_eq!(one.local, to);
            assert_ne!(one.peer, client.local(), "it was not steered");
            let own = client.local();
            assert_eq!(witness.packets(|packet| packet.source == own), []);
        }
    }
    let state = site.state();
    for section in [Section::Nft, Section::Iptables, Section::Ip6tables] {
        let rules: Vec<_> = state.lines(section).iter().collect();
        let rules = rules
            .iter()
            .filter(|line| line.starts_with("-A") || line.contains("chain"));
        assert_eq!(rules.count(), 0, "{state:?}");
    }
    up.signal(Signal::SIGTERM);
    assert_eq!(up.wait(), Status::Exited(0), "{up:#?}");
    site.assert_untouched();
    drop(proxy);
}
