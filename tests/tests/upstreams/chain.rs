//! Chains, TLS before a proxy, and failover.

use lab::{Family, Service};
use steer_tests::{Login, UpstreamProxy};

use crate::scene::Up;
use crate::servers::haproxy;
use crate::site::{Means, Site, echoes};

const RULE: &str = "rules: [{ name: all, match: { port: 7 }, upstream: far }]";

/// A certificate for `proxy.example` in one file with its key, and in one of its own.
fn certificate(site: &Site) -> (String, String) {
    let [both, own] = ["both.pem", "own.pem"].map(|name| site.path(name).display().to_string());
    let made = site.app.program("openssl").args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=proxy.example",
        "-addext",
        "subjectAltName=DNS:proxy.example",
        "-keyout",
        &both,
        "-out",
        &own,
    ]);
    made.run().expect_success();
    let key = std::fs::read_to_string(&both).expect("openssl wrote it");
    let chain = std::fs::read_to_string(&own).expect("openssl wrote it");
    std::fs::write(&both, key + &chain).expect("the folder is ours");
    (both, own)
}

#[test]
fn a_chain_ends_at_a_proxy_behind_openssl_s_tls() {
    lab::require!(Namespaces, Program("haproxy"), Program("openssl"));
    let site = Site::new("chain");
    let _server = site.srv.serve(7, Service::Echo);
    let near = UpstreamProxy::start(&site.srv, 1081, Login::None, &[]);
    let far = UpstreamProxy::start(&site.srv, 1080, Login::None, &[]);
    let (both, own) = certificate(&site);
    let sections = format!(
        "frontend all\n    mode tcp\n    bind :9443 ssl crt {both}\n    default_backend proxy\n\
         backend proxy\n    mode tcp\n    server it {}\n",
        far.address()
    );
    let _haproxy = haproxy(&site, &sections, 9443);
    let sealed = site.srv.at(Family::V4, 9443);
    for (scheme, protocol) in [("https", "http"), ("socks5+tls", "socks5")] {
        let lines = format!(
            "upstreams:\n  near: {{ url: \"socks5://{}\" }}\n  far: {{ url: \"{scheme}://{sealed}\", \
             via: near, tls: {{ name: proxy.example, roots: [\"{own}\"] }} }}\n{RULE}",
            near.address()
        );
        let up = Up::start(&site, Means::RedirectNft, &lines);
        let to = site.srv.at(Family::V4, 7);
        let mut client = site.connect(to).expect("the proxies take it");
        assert!(echoes(&mut client, b"sealed"), "{scheme}");
        let (near, far) = (near.asked(), far.asked());
        assert_eq!(
            near.last().expect("it was asked").target,
            sealed.to_string()
        );
        let last = far.last().expect("it was asked");
        assert_eq!((last.protocol, &last.target), (protocol, &to.to_string()));
        drop(client);
        up.stop();
    }
}

#[test]
fn what_one_endpoint_refuses_the_next_one_takes() {
    lab::require!(Namespaces);
    let site = Site::new("failover");
    let _server = site.srv.serve(7, Service::Echo);
    let proxy = UpstreamProxy::start(&site.srv, 1080, Login::None, &[]);
    let nobody = site.srv.at(Family::V4, 1);
    let health = "health: { interval: 100ms, fall: 1 }";
    let lines = format!(
        "upstreams:\n  far: {{ url: \"socks5://{nobody}\", endpoints: [\"{}\"], {health} }}\n  \
         gone: {{ url: \"socks5://{nobody}\", {health} }}\n{RULE}",
        proxy.address()
    );
    let up = Up::start(&site, Means::RedirectNft, &lines);
    // Of one that has no endpoint left, somebody is told; of the other one nobody need be.
    let told = up
        .proc
        .wait_line(|line| line.contains("the upstream is down"));
    assert!(told.contains("gone"), "{told}");
    for _ in 0..2 {
        let mut client = site.connect(site.srv.at(Family::V4, 7)).expect("taken");
        assert!(echoes(&mut client, b"by the second"));
    }
    let asked = proxy.asked();
    let asked: Vec<_> = asked.iter().filter(|it| !it.target.is_empty()).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(!up.proc.stderr().contains("upstream=\"far\""));
    up.stop();
}
