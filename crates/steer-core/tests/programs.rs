//! The keys of the configuration that choose programs.

use proptest::prelude::*;
use steer_core::config::{Config, ConfigError};
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intent::Selector;
use steer_core::policy::Condition;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &Host::example())
}

#[test]
fn programs_are_chosen_by_name_id_and_unit() {
    let config = parse(
        r#"
scope:
  command: [curl, "tmux: server", fifteen-bytes-x]
  pid: ["7", 4194303]
  cgroup: [nginx.service, /system.slice/redis.service/]
  except: { command: wget, cgroup: sshd.service }
listen: { external: "127.0.0.1:15001" }
upstreams: { other: { url: "socks5://127.0.0.1:15001" } }
rules:
  match: { gid: nogroup, exe: [/usr/bin/curl, "python3*"], command: git, cgroup: app.slice }
  upstream: other
"#,
    )
    .unwrap();
    assert_eq!(
        config.scope.of,
        Selector {
            command: ["curl", "tmux: server", "fifteen-bytes-x"]
                .map(str::to_owned)
                .to_vec(),
            pid: vec![7, 4_194_303],
            cgroup: ["nginx.service", "system.slice/redis.service"]
                .map(str::to_owned)
                .to_vec(),
            ..Selector::default()
        }
    );
    assert_eq!(config.scope.except.command, ["wget"]);
    assert_eq!(config.scope.except.cgroup, ["sshd.service"]);
    assert_eq!(
        config.listen.external,
        Some("127.0.0.1:15001".parse().unwrap())
    );
    assert_eq!(
        config.policy.rules[0].condition,
        Condition {
            gid: vec!["65534".parse().unwrap()],
            exe: ["/usr/bin/curl", "python3*"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            command: vec!["git".to_owned()],
            cgroup: vec!["app.slice".to_owned()],
            ..Condition::default()
        }
    );
}

#[test]
fn a_rule_about_the_program_asks_who_it_is() {
    let name = || Instance::new("x").unwrap();
    for (key, asks) in [
        ("uid: 7", true),
        ("gid: 7", true),
        ("exe: curl", true),
        ("command: curl", true),
        ("cgroup: app.slice", true),
        ("port: 7", false),
    ] {
        let text = format!("rules: {{ match: {{ {key} }}, action: reject }}");
        let intent = parse(&text).unwrap().intent(name());
        assert_eq!(intent.identify, asks, "{key}");
    }
}

proptest! {
    #[test]
    fn a_name_that_a_process_can_have_is_read_as_it_is(name in "[ -)+-.0-~][ -)+-.0-~\u{e9}]{0,17}") {
        let quoted = name.replace('\'', "''");
        let read = parse(&format!("scope: {{ command: '{quoted}' }}"));
        match read {
            Ok(config) => prop_assert_eq!(config.scope.of.command, [name]),
            Err(error) => prop_assert!(name.len() > 15, "{name:?}: {error}"),
        }
    }
}
