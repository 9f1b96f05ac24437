//! Rules about requests in a configuration: what they mean, and what mistakes look like.

use std::fs;
use std::path::Path;
use std::time::Duration;

use steer_core::address::HostName;
use steer_core::config::{Config, ConfigError};
use steer_core::host::Host;
use steer_core::policy::{
    Action, Condition, Edits, FieldCondition, Http, Inspect, PathEdit, Plaintext, Reply,
    RequestCondition, Rule, Scheme, Target, Value, ValueSource,
};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &Host::example())
}

fn value(source: ValueSource, prefix: &str, suffix: &str) -> Value {
    Value {
        source,
        prefix: prefix.to_owned(),
        suffix: suffix.to_owned(),
    }
}

fn literal(text: &str) -> Value {
    value(ValueSource::Literal(text.to_owned()), "", "")
}

fn named<T>(pairs: impl IntoIterator<Item = (&'static str, T)>) -> Vec<(String, T)> {
    let owned = |(name, value): (&str, T)| (name.to_owned(), value);
    pairs.into_iter().map(owned).collect()
}

#[test]
fn every_key_about_requests_is_read() {
    let config = parse(
        r#"
rules:
  - name: identity
    match:
      host: api.example.com
      method: [GET, POST]
      path: ["/v1/*", "*.png"]
      header: { X-Env: "prod*", x-any: "*" }
    tls: intercept
    http:
      to: "https://api.internal:8443"
      plaintext: allow
      request:
        remove: [X-Debug]
        set:
          Authorization: { file: /run/secrets/token, prefix: "Bearer ", suffix: "!" }
          x-plain: text
          x-both: { literal: b, prefix: a, suffix: c }
        add:
          x-env: { env: TOKEN }
          x-run: { command: [op, read, "op://a/b"], lifetime: 30s }
          x-usual: { command: whoami }
        path: { strip: /v1/, prefix: /api }
      response: { set: { server: steer }, add: { x-by: steer }, remove: x-powered-by }
  - match: { path: /health }
    http: { respond: { status: 403, headers: { Content-Type: text/plain }, body: "no" } }
  - match: { host: a.example, path: "/x" }
    tls: pass
    action: reject
  - tls: intercept
"#,
    )
    .unwrap();
    let first = Rule {
        name: "identity".to_owned(),
        condition: Condition {
            host: vec!["api.example.com".parse().unwrap()],
            request: RequestCondition {
                method: vec!["GET".to_owned(), "POST".to_owned()],
                path: vec!["/v1/*".parse().unwrap(), "*.png".parse().unwrap()],
                header: vec![
                    FieldCondition {
                        name: "x-env".to_owned(),
                        value: Some("prod*".to_owned()),
                    },
                    FieldCondition {
                        name: "x-any".to_owned(),
                        value: None,
                    },
                ],
            },
            ..Condition::default()
        },
        action: Action::Direct,
        http: Http {
            to: Some(Target {
                scheme: Scheme::Https,
                host: HostName::new("api.internal").unwrap(),
                port: 8443,
            }),
            request: Edits {
                remove: vec!["x-debug".to_owned()],
                set: named([
                    (
                        "authorization",
                        value(
                            ValueSource::File("/run/secrets/token".into()),
                            "Bearer ",
                            "!",
                        ),
                    ),
                    ("x-plain", literal("text")),
                    ("x-both", literal("abc")),
                ]),
                add: named([
                    ("x-env", value(ValueSource::Env("TOKEN".to_owned()), "", "")),
                    (
                        "x-run",
                        value(
                            ValueSource::Command {
                                argv: ["op", "read", "op://a/b"].map(str::to_owned).to_vec(),
                                lifetime: Duration::from_secs(30),
                            },
                            "",
                            "",
                        ),
                    ),
                    (
                        "x-usual",
                        value(
                            ValueSource::Command {
                                argv: vec!["whoami".to_owned()],
                                lifetime: Duration::from_secs(300),
                            },
                            "",
                            "",
                        ),
                    ),
                ]),
            },
            path: Some(PathEdit {
                strip: "/v1".to_owned(),
                prefix: "/api".to_owned(),
            }),
            response: Edits {
                remove: vec!["x-powered-by".to_owned()],
                set: named([("server", literal("steer"))]),
                add: named([("x-by", literal("steer"))]),
            },
            respond: None,
            plaintext: Plaintext::Allow,
        },
        tls: Inspect::Intercept,
    };
    let rules = &config.policy.rules;
    assert_eq!(rules[0], first);
    assert_eq!(
        rules[1].http.respond,
        Some(Reply {
            status: 403,
            headers: named([("content-type", "text/plain".to_owned())]),
            body: "no".to_owned(),
        })
    );
    assert_eq!(rules[1].action, Action::Direct);
    assert_eq!(
        (&rules[2].action, rules[2].tls),
        (&Action::Reject, Inspect::Pass)
    );
    assert!(rules[2].is_about_requests());
    let last = Rule {
        tls: Inspect::Intercept,
        ..Rule::new("rule-4", Condition::default(), Action::Direct)
    };
    assert_eq!(rules[3], last);
    assert!(config.policy.has_secrets() && config.policy.looks_inside());
}

#[test]
fn no_message_shows_a_value() {
    for (text, secret) in [
        (
            "rules: { match: { host: a.b }, http: { request: { set: { x-my: hunter2, hots: 1, host: x } } } }",
            "hunter2",
        ),
        (
            "rules: { http: { request: { set: { authorization: hunter2 } } } }",
            "hunter2",
        ),
        (
            "rules: { http: { request: { add: { x-my: { literal: hunter2, file: /x } } } } }",
            "hunter2",
        ),
        (
            "rules: { match: { header: { x-my: \"hunter2\\n\" } } }",
            "hunter2",
        ),
        (
            "rules: { http: { request: { set: { x-my: \"hunter2\\n\" } } } }",
            "hunter2",
        ),
        (
            "rules: { http: { to: \"https://me:hunter2@a.b\" } }",
            "hunter2",
        ),
        (
            "rules: { http: { request: { set: { cookie: hunter2: ] } } } }",
            "hunter2",
        ),
        (
            "rules: { http: { respond: { status: 200, headers: { set-cookie: hunter2, host: x } } } }",
            "hunter2",
        ),
    ] {
        let error = parse(text).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn a_literal_value_is_shown_by_no_form_of_a_policy() {
    let text = "rules: { match: { host: a.b }, http: { request: { set: { x-my: hunter2 } } } }";
    let policy = parse(text).unwrap().policy;
    let yaml = serde_yaml::to_string(&policy).unwrap();
    for shown in [format!("{policy:?}"), yaml] {
        assert!(
            shown.contains("x-my") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

/// Compares every case of `requests.txt` with its error; `STEER_BLESS=1` writes the errors.
#[test]
fn every_mistake_about_requests_is_shown_with_a_caret_and_what_would_be_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/requests.txt");
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
    assert_eq!(shown, golden, "STEER_BLESS=1 rewrites {}", path.display());
}
