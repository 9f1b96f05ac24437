//! The configuration file: what the documented example means, and what mistakes look like.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use steer_core::address::Protocol;
use steer_core::config::{Config, ConfigError, Log, LogTarget, Marks, MethodChoice, UrlError};
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intent::{
    Backend, Confine, Dial, Dns, Echo, FakeIp, Filter, Forward, Link, Listen, Loopback, OnFailure,
    Quic, Resolve, Scope, Selector, Source, Traffic,
};
use steer_core::key::Key;
use steer_core::mark::Mark;
use steer_core::method::Method;
use steer_core::policy::{
    Action, App, Condition, Credentials, Policy, Rule, Secret, Upstream, UpstreamKind,
};

const EXAMPLE: &str = include_str!("config/example.yaml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &Host::example())
}

/// The values that texts stand for.
#[allow(clippy::unwrap_used)] // a helper of tests that is no test itself
fn list<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_example_means_what_it_says() {
    let expected = Config {
        name: None,
        method: MethodChoice::Auto,
        backend: None,
        scope: Scope {
            command: false,
            of: Selector {
                cgroup: vec!["app.slice".to_owned()],
                uid: list(&["1000", "2000-2999"]),
                ..Selector::default()
            },
            except: Selector {
                uid: list(&["1337"]),
                ..Selector::default()
            },
        },
        traffic: Traffic {
            include: Filter {
                protocols: vec![Protocol::Tcp, Protocol::Udp],
                ports: list(&["80", "443", "3000-5000"]),
                cidrs: list(&["0.0.0.0/0", "::/0"]),
                domains: Vec::new(),
            },
            exclude: Filter {
                protocols: Vec::new(),
                ports: list(&["22"]),
                cidrs: list(&["10.0.0.0/8"]),
                domains: list(&["*.lan"]),
            },
            loopback: Some(Loopback::Skip),
            dns: Some(Dns::Leave),
            quic: Some(Quic::Leave),
        },
        on_failure: Some(OnFailure::Open),
        forward: vec![Forward {
            listen: "127.0.0.1:15432".parse().unwrap(),
            to: "db.internal:5432".parse().unwrap(),
            upstream: Some("corp".to_owned()),
            proxy_protocol: Vec::new(),
        }],
        listen: Listen::default(),
        mark: Marks::default(),
        source: None,
        dial: None,
        confine: Confine::default(),
        link: Link::default(),
        relay: None,
        resolve: Resolve::default(),
        policy: Policy {
            upstreams: vec![Upstream {
                credentials: Some(Credentials {
                    username: "u".to_owned(),
                    password: Secret::File("/run/secrets/pw".into()),
                }),
                ..Upstream::new(
                    "corp",
                    UpstreamKind::Socks5,
                    "10.0.0.1:1080".parse().unwrap(),
                )
            }],
            rules: vec![
                Rule {
                    name: "internal".to_owned(),
                    condition: Condition {
                        host: list(&["*.internal"]),
                        port: list(&["443"]),
                        ..Condition::default()
                    },
                    action: Action::Upstream("corp".to_owned()),
                    http: Default::default(),
                    tls: Default::default(),
                },
                Rule {
                    name: "no-telemetry".to_owned(),
                    condition: Condition {
                        host: list(&["telemetry.example.com"]),
                        ..Condition::default()
                    },
                    action: Action::Reject,
                    http: Default::default(),
                    tls: Default::default(),
                },
            ],
            ..Policy::default()
        },
        log: Log {
            connections: LogTarget::Stdout,
            ..Log::default()
        },
        metrics: None,
        events: None,
    };
    assert_eq!(parse(EXAMPLE).unwrap(), expected);
}

#[test]
fn every_other_key_is_read_too() {
    let config = parse(
        r#"
name: egress
method: [redirect, env]
backend: iptables
scope: { host: true, gid: nogroup, netns: 4711, uid: [root, "7"] }
traffic: { loopback: steer, dns: capture, quic: reject }
mark: { steer: "0x400/0xf00", bypass: 2048 }
source: client
dial: outside
dns:
  resolver: "[2001:db8::53]:5353"
  fake_ip: { pools: ["100.64.0.0/16"], names: "*.example.com", except: [a.example.com], file: pool.json }
  rebind: "*.dev.example"
on_failure: closed
listen:
  outbound: "15001"
  inbound: 15006
  dns: 15053
  explicit: "[::1]:15080"
  auth: { username: u, password: { env: PROXY_PASSWORD } }
  proxy_protocol: { from: [10.0.0.0/8, "fd00::/8"] }
upstreams:
  a: { url: "http://me:p%40ss@proxy.example:3128" }
rules:
  match: { cidr: 192.0.2.0/24, protocol: udp, uid: 5-6, app: [tls, http1, http2, quic, dns, opaque] }
  action: direct
log: { connections: { file: steer.log } }
"#,
    )
    .unwrap();
    assert_eq!(config.name, Some(Instance::new("egress").unwrap()));
    assert_eq!(
        config.method,
        MethodChoice::Preferred(vec![Method::Redirect, Method::Env])
    );
    assert_eq!(config.backend, Some(Backend::Iptables));
    assert_eq!(
        config.scope.of,
        Selector {
            host: true,
            cgroup: Vec::new(),
            uid: list(&["0", "7"]),
            gid: list(&["65534"]),
            netns: Some("4711".to_owned()),
            ..Selector::default()
        }
    );
    assert_eq!(
        config.listen,
        Listen {
            external: None,
            inbound: Some(15006),
            dns: Some(15053),
            outbound: Some(15001),
            explicit: Some("[::1]:15080".parse().unwrap()),
            auth: Some(Credentials {
                username: "u".to_owned(),
                password: Secret::Env("PROXY_PASSWORD".to_owned()),
            }),
            proxy_protocol: list(&["10.0.0.0/8", "fd00::/8"]),
        }
    );
    let intent = config.intent(Instance::new("egress").unwrap());
    let mark = |value, mask| Mark { value, mask };
    assert_eq!(intent.steer, Some(mark(0x400, 0xf00)));
    assert_eq!(intent.bypass, mark(2048, 2048));
    assert_eq!(intent.source, Some(Source::Client));
    assert_eq!(intent.dial, Some(Dial::Outside));
    assert_eq!(
        intent.resolve,
        Resolve {
            resolver: Some("[2001:db8::53]:5353".parse().unwrap()),
            fake: Some(FakeIp {
                pools: list(&["100.64.0.0/16"]),
                names: list(&["*.example.com"]),
                except: list(&["a.example.com"]),
                file: Some("pool.json".into()),
            }),
            rebind: list(&["*.dev.example"]),
        }
    );
    let credentials = config.policy.upstreams[0].credentials.clone().unwrap();
    assert_eq!(credentials.password, Secret::Literal("p@ss".to_owned()));
    assert_eq!(config.policy.rules[0].name, "rule-1");
    assert_eq!(config.policy.rules[0].condition.app.len(), 6);
    assert!(config.policy.rules[0].condition.app.contains(&App::Opaque));
    assert_eq!(config.log.connections, LogTarget::File("steer.log".into()));
}

#[test]
fn a_device_is_as_it_is_written() {
    let link = |text: &str| parse(&format!("device: {text}")).unwrap().link;
    let bridged = "{ mtu: 9000, queues: \"4\", echo: forward, bridge: br0, \
                   gateway: [10.9.0.1/24, \"fd00:9::1/64\"], dhcp: true, advertise: true }";
    assert_eq!(
        link(bridged),
        Link {
            mtu: Some(9000),
            queues: Some(4),
            echo: Some(Echo::Forward),
            fd: None,
            bridge: Some("br0".to_owned()),
            gateway: vec![
                ("10.9.0.1".parse().unwrap(), 24),
                ("fd00:9::1".parse().unwrap(), 64)
            ],
            dhcp: true,
            advertise: true,
        }
    );
    assert_eq!(link("{ fd: 3, dhcp: false }").fd, Some(3));
    let written = parse("device: { mtu: 1280, gateway: 10.9.0.1/24 }").unwrap();
    let keys = written.intent(Instance::new("x").unwrap()).keys();
    assert_eq!(keys, [Key::DeviceMtu, Key::DeviceGateway]);
}

#[test]
fn arriving_packets_are_chosen_by_interface_or_by_being_meant_for_this_host() {
    let scope = |text: &str| parse(&format!("scope: {text}")).unwrap().scope;
    let forwarded = scope("{ interface: [eth0, br-1], netns: /run/netns/blue }");
    assert_eq!(forwarded.of.interface, ["eth0", "br-1"]);
    assert_eq!(forwarded.of.netns.as_deref(), Some("/run/netns/blue"));
    let inbound = scope("{ inbound: true, host: false, netns: web-1.service }");
    assert!(inbound.of.inbound);
    assert_eq!(inbound.of.netns.as_deref(), Some("web-1.service"));
}

#[test]
fn made_up_addresses_have_usual_pools_and_a_resolver_its_usual_port() {
    let resolve = |text: &str| {
        let text = format!("traffic: {{ dns: capture }}\ndns: {text}");
        parse(&text).unwrap().resolve
    };
    let usual = Resolve {
        resolver: None,
        fake: Some(FakeIp {
            pools: FakeIp::default_pools(),
            names: Vec::new(),
            except: Vec::new(),
            file: None,
        }),
        rebind: Vec::new(),
    };
    assert_eq!(resolve("{ fake_ip: true }"), usual);
    assert_eq!(resolve("{ fake_ip: false }"), Resolve::default());
    let file = resolve("{ fake_ip: { file: pool.json } }").fake.unwrap();
    assert_eq!(file.pools, FakeIp::default_pools());
    for (text, address) in [
        ("10.0.0.53", "10.0.0.53:53"),
        ("\"10.0.0.53:5353\"", "10.0.0.53:5353"),
        ("\"::1\"", "[::1]:53"),
        ("\"[::1]:5353\"", "[::1]:5353"),
        ("\"::ffff:10.0.0.53\"", "10.0.0.53:53"),
    ] {
        let resolver = resolve(&format!("{{ resolver: {text} }}")).resolver;
        assert_eq!(resolver, Some(address.parse().unwrap()), "{text}");
    }
    let alone = parse("method: dns\ndns: { fake_ip: true }").unwrap();
    assert_eq!(alone.resolve, usual);
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "\n# only a comment\n", "---\n", "{}"] {
        assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
    }
}

#[test]
fn a_list_can_be_written_once_and_used_twice() {
    let config = parse(
        "traffic: { include: { ports: &web [80, 443] } }\n\
         rules: [ { match: { port: *web }, action: reject } ]",
    )
    .unwrap();
    assert_eq!(
        config.policy.rules[0].condition.port,
        config.traffic.include.ports
    );
}

#[test]
fn the_intent_holds_what_was_written_and_the_name_given() {
    let name = Instance::new("x").unwrap();
    let config = parse(EXAMPLE).unwrap();
    let intent = config.intent(name.clone());
    assert_eq!((&intent.instance, &intent.scope), (&name, &config.scope));
    assert_eq!(intent.failure(), OnFailure::Open);
    assert!(intent.identify, "records are written");
    let run = Config::default().with_command().intent(name);
    assert_eq!(run.failure(), OnFailure::Closed);
    assert!(run.scope.command && !run.identify);
}

#[test]
fn the_command_line_lays_itself_over_the_file() {
    let config = parse(EXAMPLE)
        .unwrap()
        .with_method(Method::Env)
        .with_log(LogTarget::File("f".into()))
        .with_upstream("http://me:hunter2@192.0.2.1:8080")
        .unwrap();
    assert_eq!(config.method.preferred(), Some(&[Method::Env][..]));
    assert_eq!(config.log.connections, LogTarget::File("f".into()));
    let last = config.policy.rules.last().unwrap();
    assert_eq!(last.condition, Condition::default());
    assert_eq!(last.action, Action::Upstream("cli".to_owned()));
    assert_eq!(config.policy.upstreams.last().unwrap().name, "cli");
    assert_eq!(config.policy.rules.len(), 3, "the file's rules come first");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn an_upstream_of_the_command_line_is_checked_like_one_of_the_file() {
    let config = parse("listen: { explicit: \"127.0.0.1:15080\" }").unwrap();
    let ourselves = config
        .clone()
        .with_upstream("http://[::ffff:127.0.0.1]:15080");
    assert_eq!(ourselves.unwrap_err(), UrlError::Ourselves);
    let error = config.with_upstream("socks9://me:hunter2@h:1").unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
    assert!(error.help().contains("socks5://HOST:PORT"));
}

#[test]
fn an_error_names_the_file_the_line_and_the_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("steer.yaml");
    fs::write(&path, "method: auto\nscope: { uid: [none-such] }\n").unwrap();
    let error = Config::read(&path, &Host::example()).unwrap_err();
    let place = format!("{}:2:16: ", path.display());
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(error.help().contains("steer check -c"));
    assert_eq!(error.mistakes().len(), 1);
    let absent = Config::read(&dir.path().join("absent"), &Host::example()).unwrap_err();
    assert!(matches!(absent, ConfigError::Read { .. }));
    assert!(absent.to_string().contains("absent"));
}

#[test]
fn bytes_that_are_no_text_are_refused_where_they_stand() {
    let error = Config::from_bytes(b"name: a\nmethod: \xff\n", &Host::example()).unwrap_err();
    assert_eq!(
        (error.mistakes()[0].line(), error.mistakes()[0].column()),
        (2, 9)
    );
}

#[test]
fn hostile_files_are_refused_in_bounded_time_and_memory() {
    let bomb = (1..30).fold("x0: &a0 [1, 1, 1]\n".to_owned(), |text, n| {
        let m = n - 1;
        format!("{text}x{n}: &a{n} [*a{m}, *a{m}, *a{m}]\n")
    });
    let deep = format!("scope: {}", "[".repeat(100_000));
    let long = format!("name: {}", "a".repeat(2 << 20));
    for text in [bomb, deep, long] {
        let error = parse(&text).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }
    let keys: String = (0..40_000).map(|n| format!("k{n}: 1\n")).collect();
    let error = parse(&keys).unwrap_err().to_string();
    assert!(error.ends_with("and 39980 more"), "{error}");
}

/// Compares every case of `mistakes.txt` with its error; `STEER_BLESS=1` writes the errors.
#[test]
fn every_mistake_is_shown_with_a_caret_and_what_would_be_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/mistakes.txt");
    let golden = fs::read_to_string(&path).unwrap();
    let mut shown = String::new();
    for case in golden.split("=== ").filter(|case| !case.is_empty()) {
        let (title, rest) = case.split_once('\n').unwrap();
        let input = rest.split("--- error\n").next().unwrap();
        let error = match parse(input) {
            Ok(config) => panic!("{title}: was accepted as {config:?}"),
            Err(error) => error.to_string(),
        };
        for secret in ["hunter2", "hunter3"] {
            assert!(!error.contains(secret), "{title}: {error}");
        }
        shown += &format!("=== {title}\n{input}--- error\n{error}\n");
    }
    if std::env::var_os("STEER_BLESS").is_some() {
        fs::write(&path, &shown).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    for (shown, golden) in shown.split("=== ").zip(golden.split("=== ")) {
        assert_eq!(shown, golden);
    }
    assert_eq!(shown.len(), golden.len());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(error) = Config::from_bytes(&bytes, &Host::example()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn arbitrary_yaml_like_text_never_panics(text in "[a-z0-9:{}\\[\\],*&!|>'\"#?% \n\t\r\u{e9}\u{1f980}\u{feff}-]{0,200}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_mutated_example_never_panics_nor_shows_a_secret(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), ".{0,3}", 0_usize..4), 1..4)
    ) {
        let secret = "password: Zq7Zq7Zq7";
        let mut text = EXAMPLE.replace("password: { file: /run/secrets/pw }", secret);
        for (at, insert, remove) in edits {
            // The secret and the key that makes it one stay as they are.
            let (before, after) = text.split_once(secret).unwrap();
            let mut parts = [before, after].map(|part| part.chars().collect::<Vec<_>>());
            let at = at.index(parts[0].len() + parts[1].len() + 1);
            let (part, at) = match at.checked_sub(parts[0].len()) {
                Some(behind) => (1, behind),
                None => (0, at),
            };
            let end = (at + remove).min(parts[part].len());
            parts[part].splice(at..end, insert.chars());
            let [before, after] = parts.map(|part| part.into_iter().collect::<String>());
            text = format!("{before}{secret}{after}");
        }
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().contains("Zq7"), "{error}");
        }
    }
}
