//! The examples of `docs/rules.md`.

use steer_core::config::Config;
use steer_core::host::Host;

const TEXT: &str = include_str!("../../../docs/rules.md");

#[test]
fn every_example_of_rules_is_read() {
    let examples: Vec<&str> = TEXT
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() > 5, "{}", examples.len());
    for example in examples {
        let config = Config::parse(example, &Host::example());
        let config = config.unwrap_or_else(|error| panic!("{error}\n{example}"));
        assert!(!config.policy.rules.is_empty(), "{example}");
    }
}

#[test]
fn every_key_of_a_match_is_told() {
    for key in [
        "host", "cidr", "port", "protocol", "uid", "gid", "exe", "command", "cgroup", "app",
        "method", "path", "header",
    ] {
        let told = TEXT.lines().filter(|line| line.starts_with("| `"));
        let mut keys = told.filter_map(|line| line.split('|').nth(1));
        assert!(keys.any(|keys| keys.contains(&format!("`{key}`"))), "{key}");
    }
}
