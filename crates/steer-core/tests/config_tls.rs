//! The section `tls` of a configuration: what it means, and what mistakes in it look like.

use steer_core::config::Config;
use steer_core::host::Host;
use steer_core::policy::{Certificate, Failing, Tls};

fn mistake(text: &str) -> String {
    match Config::parse(text, &Host::example()) {
        Ok(config) => panic!("was accepted as {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_key_means_what_it_says() {
    let text = r#"
tls:
  authority: ~/.local/state/steer
  roots: [/etc/corp-ca.pem, lab.pem]
  failing: pass
  certificates: [ { host: [api.example.com, "*.internal"], chain: /x.pem, key: ~/x.key } ]
"#;
    let config = Config::parse(text, &Host::example()).unwrap();
    let expected = Tls {
        authority: Some("~/.local/state/steer".into()),
        roots: vec!["/etc/corp-ca.pem".into(), "lab.pem".into()],
        failing: Failing::Pass,
        certificates: vec![Certificate {
            host: vec![
                "api.example.com".parse().unwrap(),
                "*.internal".parse().unwrap(),
            ],
            chain: "/x.pem".into(),
            key: "~/x.key".into(),
        }],
    };
    assert_eq!(config.policy.tls, expected);
}

#[test]
fn one_value_is_a_list_of_one_and_nothing_is_the_default() {
    let text = "tls: { roots: /ca.pem, certificates: { host: a, chain: c, key: k } }";
    let tls = Config::parse(text, &Host::example()).unwrap().policy.tls;
    assert_eq!(tls.roots.len(), 1);
    assert_eq!(tls.certificates.len(), 1);
    assert_eq!(tls.failing, Failing::Refuse);
    let config = Config::parse("log: { connections: stdout }", &Host::example()).unwrap();
    assert_eq!(config.policy.tls, Tls::default());
}

#[test]
fn each_mistake_is_shown_with_its_place_and_what_would_be_right() {
    for (text, said) in [
        (
            "tls: { root: /ca.pem }",
            "config:1:8: unknown key `root` in `tls`
  |
1 | tls: { root: /ca.pem }
  |        ^^^^
  = help: did you mean `roots`?",
        ),
        (
            "tls: { failing: open }",
            "config:1:17: `open` is no value of `tls.failing`
  |
1 | tls: { failing: open }
  |                 ^^^^
  = help: the values are `refuse` and `pass`",
        ),
        (
            "tls: { authority: ~ann/ca }",
            "config:1:19: \"~ann/ca\" is not a path
  |
1 | tls: { authority: ~ann/ca }
  |                   ^^^^^^^
  = help: write a path from the root on, or from your home: /etc/ca.pem, ~/ca.pem",
        ),
        (
            "tls: { authority: \"\" }",
            "config:1:19: `tls.authority` is empty
  |
1 | tls: { authority: \"\" }
  |                   ^^
  = help: write a value, or remove the key: an empty one would say nothing",
        ),
        (
            "tls: { certificates: [ { chain: /c.pem, key: /k.pem } ] }",
            "config:1:24: `tls.certificates[0]` lacks the key `host`
  |
1 | tls: { certificates: [ { chain: /c.pem, key: /k.pem } ] }
  |                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write `host: [NAME]`",
        ),
    ] {
        assert_eq!(mistake(text), said);
    }
}

#[test]
fn wrong_kinds_and_empty_ones_are_refused() {
    for text in [
        "tls: intercept",
        "tls: {}",
        "tls: { roots: [] }",
        "tls: { roots: { file: /x } }",
        "tls: { authority: [/x] }",
        "tls: { authority: }",
        "tls: { certificates: [] }",
        "tls: { certificates: /x.pem }",
        "tls: { certificates: [ { host: [], chain: c, key: k } ] }",
        "tls: { certificates: [ { host: [192.0.2.1], chain: c, key: k } ] }",
        "tls: { certificates: [ { host: a, chain: c } ] }",
        "tls: { certificates: [ { host: a, key: k } ] }",
        "tls: { certificates: [ { host: a, chain: c, key: k, password: x } ] }",
        "tls: { failing: pass, failing: refuse }",
    ] {
        let said = mistake(text);
        assert!(said.starts_with("config:1:"), "{text}: {said}");
        assert!(said.contains("= help: "), "{text}: {said}");
    }
}

#[test]
fn the_documentations_example_is_read() {
    let text = include_str!("../../../docs/tls.md");
    let examples: Vec<_> = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        Config::parse(example, &Host::example()).unwrap_or_else(|error| panic!("{error}"));
    }
}
