//! `upstreams`: what the keys of a proxy mean, and what mistakes in them look like.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use steer_core::config::{Config, ConfigError};
use steer_core::host::Host;
use steer_core::policy::{
    ClientCertificate, Health, Resolving, Upstream, UpstreamKind, UpstreamLimits, UpstreamTls,
};
use steer_core::proxy_protocol::Version;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &Host::example())
}

const EVERYTHING: &str = r#"
upstreams:
  corp:
    url: "https://proxy.corp:8443"
    tls:
      name: inner.corp
      roots: [/etc/corp-ca.pem]
      certificate: { chain: /etc/steer/me.pem, key: /etc/steer/me.key }
    endpoints: ["10.0.0.2:8443", "[2001:db8::2]:8443"]
    health: { interval: 500ms, fall: 5, rise: 1, timeout: 1m }
    limits: { connections: 100, connect: 3s }
    proxy_protocol: v2
    resolve: here
    via: jump
  jump: { url: "socks5+tls://jump.corp:1081" }
  lb: { url: "tcp://10.0.0.9:443", proxy_protocol: v1, health: { fall: 1 } }
"#;

#[test]
fn every_key_of_an_upstream_is_read() {
    let policy = parse(EVERYTHING).unwrap().policy;
    let address = |text: &str| text.parse().unwrap();
    let corp = Upstream {
        endpoints: vec![address("10.0.0.2:8443"), address("[2001:db8::2]:8443")],
        tls: Some(UpstreamTls {
            name: Some("inner.corp".parse().unwrap()),
            roots: vec!["/etc/corp-ca.pem".into()],
            certificate: Some(ClientCertificate {
                chain: "/etc/steer/me.pem".into(),
                key: "/etc/steer/me.key".into(),
            }),
        }),
        health: Some(Health {
            interval: Duration::from_millis(500),
            fall: 5,
            rise: 1,
            timeout: Duration::from_secs(60),
        }),
        limits: UpstreamLimits {
            connections: Some(100),
            connect: Some(Duration::from_secs(3)),
        },
        proxy_protocol: Some(Version::V2),
        resolve: Resolving::Here,
        via: Some("jump".to_owned()),
        ..Upstream::new("corp", UpstreamKind::Http, address("proxy.corp:8443"))
    };
    let jump = Upstream {
        tls: Some(UpstreamTls::default()),
        ..Upstream::new("jump", UpstreamKind::Socks5, address("jump.corp:1081"))
    };
    let lb = Upstream {
        proxy_protocol: Some(Version::V1),
        health: Some(Health {
            fall: 1,
            ..Health::default()
        }),
        ..Upstream::new("lb", UpstreamKind::Tcp, address("10.0.0.9:443"))
    };
    assert_eq!(policy.upstreams, [corp, jump, lb]);
}

#[test]
fn the_upstream_of_the_command_line_may_be_in_tls() {
    let config = parse("method: auto").unwrap();
    let config = config.with_upstream("https://proxy.corp:8443").unwrap();
    assert_eq!(config.policy.upstreams[0].tls, Some(UpstreamTls::default()));
}

/// Compares every case of `upstreams.txt` with its error; `STEER_BLESS=1` writes the errors.
#[test]
fn every_mistake_is_shown_with_a_caret_and_what_would_be_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/upstreams.txt");
    let golden = fs::read_to_string(&path).unwrap();
    let mut shown = String::new();
    for case in golden.split("=== ").filter(|case| !case.is_empty()) {
        let (title, rest) = case.split_once('\n').unwrap();
        let input = rest.split("--- error\n").next().unwrap();
        let error = match parse(input) {
            Ok(config) => panic!("{title}: was accepted as {config:?}"),
            Err(error) => error.to_string(),
        };
        shown += &format!("=== {title}\n{input}--- error\n{error}\n");
    }
    if std::env::var_os("STEER_BLESS").is_some() {
        fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, fs::read_to_string(&path).unwrap());
}
