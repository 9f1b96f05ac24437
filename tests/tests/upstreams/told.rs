//! What HAProxy and nginx understand of the PROXY protocol.

use lab::{Family, Service};

use crate::scene::Up;
use crate::servers::{haproxy, nginx};
use crate::site::{Means, Site, echoes};

const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Everything goes to a port of the servers' host, which is told of the client.
fn told(site: &Site, port: u16, version: &str) -> String {
    let at = site.srv.at(Family::V4, port);
    format!(
        "upstreams: {{ lb: {{ url: \"tcp://{at}\", proxy_protocol: {version} }} }}\n\
         rules: [{{ name: all, match: {{ port: [7, 80] }}, upstream: lb }}]"
    )
}

#[test]
fn nginx_is_told_who_connected_and_where() {
    lab::require!(Namespaces, Program("nginx"));
    let site = Site::new("told-nginx");
    let said = "server {\n listen 9000 proxy_protocol;\n return \"$proxy_protocol_addr \
                $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\";\n}";
    let _nginx = nginx(&site, said, 9000);
    let up = Up::start(&site, Means::RedirectNft, &told(&site, 9000, "v1"));
    for version in VERSIONS {
        up.reload(&told(&site, 9000, version));
        for family in Family::BOTH {
            let to = site.srv.at(family, 7);
            let mut client = site.connect(to).expect("nginx takes it");
            let (said, _) = client.receive_all();
            let own = client.local();
            let expected = format!("{} {} {} 7", own.ip(), own.port(), to.ip());
            assert_eq!(String::from_utf8_lossy(&said), expected, "{version}");
        }
    }
    up.stop();
}

#[test]
fn haproxy_goes_on_to_where_it_is_told() {
    lab::require!(Namespaces, Program("haproxy"));
    let site = Site::new("told-haproxy");
    let server = site.srv.serve(7, Service::Echo);
    // The address 0.0.0.0 of a server means, to HAProxy, the one that it was told.
    let sections = "frontend all\n    mode tcp\n    bind :9001 accept-proxy\n    \
                    default_backend asked\nbackend asked\n    mode tcp\n    server it 0.0.0.0\n";
    let _haproxy = haproxy(&site, sections, 9001);
    let up = Up::start(&site, Means::RedirectNft, &told(&site, 9001, "v1"));
    for version in VERSIONS {
        up.reload(&told(&site, 9001, version));
        let to = site.srv.at(Family::V4, 7);
        let mut client = site.connect(to).expect("HAProxy takes it");
        assert!(echoes(&mut client, b"as told"), "{version}");
        let seen = server.seen();
        assert_eq!(seen.last().expect("it was asked").local, to);
    }
    up.stop();
}

#[test]
fn haproxy_reads_the_values_of_version_2_and_finds_the_checksum_right() {
    lab::require!(Namespaces, Program("haproxy"), Program("curl"));
    let site = Site::new("told-values");
    let sections = "frontend all\n    mode http\n    bind :9002 accept-proxy\n    http-request return \
                    status 200 content-type text/plain lf-string \"%[src] %[dst] \
                    %[fc_pp_authority] id=%[fc_pp_unique_id]\"\n";
    let _haproxy = haproxy(&site, sections, 9002);
    let up = Up::start(&site, Means::RedirectNft, &told(&site, 9002, "v2"));
    for family in Family::BOTH {
        let to = site.srv.at(family, 80);
        let resolve = format!("api.example.com:80:{}", to.ip());
        let curl = site
            .app
            .program("curl")
            .args(["-sS", "--fail", "--resolve", &resolve]);
        let said = curl.arg("http://api.example.com/").run().expect_success();
        let own = site.app.address(family);
        let (begin, id) = said
            .split_once(" id=")
            .expect("it answers as it was configured");
        assert_eq!(begin, format!("{own} {} api.example.com", to.ip()));
        assert!(id.parse::<u64>().is_ok(), "{id}");
    }
    up.stop();
}
