use steer_core::policy::{
    Condition, Edits, FieldCondition, Http, Inspect, RequestCondition, Value, ValueSource,
};
use steer_http::{Fields, Request, Version};

use super::*;

pub(super) fn to(text: &str) -> Destination {
    text.parse().unwrap()
}

fn host(names: &[&str]) -> Condition {
    Condition {
        host: names.iter().map(|name| name.parse().unwrap()).collect(),
        ..Condition::default()
    }
}

pub(super) fn paths(condition: Condition, patterns: &[&str]) -> Condition {
    let path = patterns.iter().map(|text| text.parse().unwrap()).collect();
    Condition {
        request: RequestCondition {
            path,
            ..RequestCondition::default()
        },
        ..condition
    }
}

fn direct(name: &str, condition: Condition) -> Rule {
    Rule::new(name, condition, Action::Direct)
}

fn opened(rule: Rule) -> Rule {
    Rule {
        tls: Inspect::Intercept,
        ..rule
    }
}

/// A rule that removes a field, and so is about requests.
fn edits(rule: Rule) -> Rule {
    let request = Edits {
        remove: vec!["x-debug".to_owned()],
        ..Edits::default()
    };
    let http = Http {
        request,
        ..Http::default()
    };
    Rule { http, ..rule }
}

pub(super) fn get(target: &str) -> Request {
    Request {
        version: Version::Http11,
        method: "GET".to_owned(),
        target: target.to_owned(),
        authority: None,
        fields: Fields::default(),
    }
}

/// The name of the rule that decides about a request.
pub(super) fn decides<'a>(
    rules: &'a Rules,
    facts: Facts<'_>,
    request: &Request,
    host: Option<&str>,
) -> Option<&'a str> {
    let host = host.map(|host| HostName::new(host).unwrap());
    let request = RequestFacts::of(request, host.as_ref());
    match rules.decide_request(facts, &request) {
        RequestDecision::Rule(rule) => rule.map(|rule| rule.name.as_str()),
        other => panic!("{other:?}"),
    }
}

fn saying<'a>(destination: &'a Destination, sniffed: &'a Sniffed) -> Facts<'a> {
    Facts {
        sniffed: Some(sniffed),
        ..facts(destination)
    }
}

#[test]
fn a_session_is_inspected_where_one_of_its_requests_may_be_meant() {
    let rules = Rules(vec![edits(direct("a", host(&["a.example"])))]);
    let there = to("192.0.2.1:80");
    assert_eq!(rules.decide(facts(&there)), Decision::Sniff);
    assert!(!rules.leave_direct(facts(&there)));
    // The next request can be for the name.
    for name in ["a.example", "b.example"] {
        let told = sniffed(name, App::Http1);
        let said = rules.decide(saying(&there, &told));
        assert_eq!(said, Decision::Inspect(&rules.0[0]), "{name}");
    }
    for app in [App::Opaque, App::Tls, App::Dns] {
        let told = sniffed("a.example", app);
        let said = rules.decide(saying(&there, &told));
        assert_eq!(said, Decision::Rule(None), "{app:?}");
    }
}

#[test]
fn a_connection_that_no_request_rule_can_mean_is_not_waited_for() {
    let web = Condition {
        port: vec!["80".parse().unwrap()],
        ..Condition::default()
    };
    let rules = Rules(vec![edits(direct("web", web))]);
    let ssh = to("192.0.2.1:22");
    assert_eq!(rules.decide(facts(&ssh)), Decision::Rule(None));
    let web = to("192.0.2.1:80");
    let quic = Facts::at_first(Protocol::Udp, &web, &NOBODY);
    assert_eq!(rules.decide(quic), Decision::Rule(None));
}

#[test]
fn tls_is_opened_for_the_name_that_the_client_asks_for() {
    let rules = Rules(vec![
        edits(direct("plain", host(&["a.example"]))),
        opened(edits(direct("a", host(&["a.example"])))),
    ]);
    let there = to("192.0.2.1:443");
    for (name, expected) in [
        ("a.example", Decision::Open(&rules.0[1])),
        ("b.example", Decision::Rule(None)),
    ] {
        let told = sniffed(name, App::Tls);
        assert_eq!(rules.decide(saying(&there, &told)), expected, "{name}");
    }
    let nameless = Sniffed {
        app: App::Tls,
        host: None,
        alpn: Vec::new(),
    };
    assert_eq!(
        rules.decide(saying(&there, &nameless)),
        Decision::Rule(None)
    );
    // A name that the program gave elsewhere is not the one that a certificate is shown for.
    let named = to("a.example:443");
    assert_eq!(
        rules.decide(saying(&named, &nameless)),
        Decision::Rule(None)
    );
    let any = Rules(vec![opened(edits(direct("all", Condition::default())))]);
    assert_eq!(
        any.decide(saying(&there, &nameless)),
        Decision::Open(&any.0[0])
    );
}

#[test]
fn what_settles_a_connection_first_keeps_it_from_being_looked_into() {
    let corp = Condition {
        port: vec!["443".parse().unwrap()],
        ..Condition::default()
    };
    let rules = Rules(vec![
        direct("before", corp),
        opened(edits(direct("all", Condition::default()))),
    ]);
    let there = to("192.0.2.1:443");
    assert_eq!(
        rules.decide(facts(&there)),
        Decision::Rule(Some(&rules.0[0]))
    );
    let elsewhere = to("192.0.2.1:80");
    assert_eq!(rules.decide(facts(&elsewhere)), Decision::Sniff);
}

#[test]
fn the_name_of_the_first_request_does_not_hide_those_of_later_ones() {
    let rules = Rules(vec![
        direct("good", host(&["good.example"])),
        Rule::new(
            "admin",
            paths(Condition::default(), &["/admin*"]),
            Action::Reject,
        ),
    ]);
    let there = to("192.0.2.1:80");
    let told = sniffed("good.example", App::Http1);
    let facts = saying(&there, &told);
    assert_eq!(rules.decide(facts), Decision::Inspect(&rules.0[1]));
    let first = decides(&rules, facts, &get("/admin"), Some("good.example"));
    assert_eq!(first, Some("good"));
    let later = decides(&rules, facts, &get("/admin"), Some("bad.example"));
    assert_eq!(later, Some("admin"));
    // A name that the program connected to is that of every request.
    let named = to("good.example:80");
    let facts = saying(&named, &told);
    assert_eq!(rules.decide(facts), Decision::Rule(Some(&rules.0[0])));
    // Where no rule about requests follows, the first name decides, as it does without any.
    let settled = Rules(vec![
        direct("good", host(&["good.example"])),
        Rule::new("all", Condition::default(), Action::Reject),
        edits(direct("late", Condition::default())),
    ]);
    let facts = saying(&there, &told);
    assert_eq!(settled.decide(facts), Decision::Rule(Some(&settled.0[0])));
}

#[test]
fn an_unseen_inside_is_no_request() {
    let rules = Rules(vec![
        opened(edits(direct("edits", Condition::default()))),
        opened(direct("looks", host(&["a.example"]))),
    ]);
    let there = to("192.0.2.1:443");
    let told = sniffed("a.example", App::Tls);
    let facts = saying(&there, &told);
    assert_eq!(rules.decide(facts), Decision::Open(&rules.0[0]));
    let unseen = rules.decide_unseen(facts);
    assert_eq!(unseen, Decision::Rule(Some(&rules.0[1])));
}

#[test]
fn each_request_is_asked_by_its_own_name_method_path_and_fields() {
    let header = |name: &str, value: Option<&str>| FieldCondition {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let mut condition = paths(host(&["*.example"]), &["/v1/*", "/v2"]);
    condition.request.method = vec!["GET".to_owned(), "POST".to_owned()];
    condition.request.header = vec![header("x-env", Some("pro*")), header("x-any", None)];
    let rules = Rules(vec![edits(direct("it", condition))]);
    let there = to("192.0.2.1:80");
    let told = sniffed("other.test", App::Http1);
    let asked = |change: &dyn Fn(&mut Request), host: Option<&str>| {
        let mut request = get("/v1/x?q=/v3");
        request.fields.add("X-Env", "test");
        request.fields.add("x-ENV", "prod");
        request.fields.add("X-Any", "");
        change(&mut request);
        decides(&rules, saying(&there, &told), &request, host).is_some()
    };
    let name = Some("a.example");
    assert!(asked(&|_| {}, name));
    assert!(asked(&|request| request.method = "POST".to_owned(), name));
    assert!(asked(&|request| request.target = "/v2".to_owned(), name));
    assert!(asked(
        &|request| request.target = "http://a.example/v1/".to_owned(),
        name
    ));
    assert!(asked(
        &|request| request.target = "/%76%31/x".to_owned(),
        name
    ));
    assert!(!asked(&|_| {}, Some("example")));
    assert!(!asked(&|_| {}, None));
    assert!(!asked(&|request| request.method = "get".to_owned(), name));
    assert!(!asked(&|request| request.target = "/v2/".to_owned(), name));
    assert!(!asked(
        &|request| request.target = "/v1/../v3".to_owned(),
        name
    ));
    assert!(!asked(
        &|request| assert_eq!(request.fields.remove("x-any"), 1),
        name
    ));
    assert!(!asked(&|request| request.fields.set("x-env", "test"), name));
}

#[test]
fn a_path_that_cannot_be_read_is_let_pass_by_no_rule_and_stopped_by_each() {
    let let_pass = || direct("pass", paths(Condition::default(), &["/ok*"]));
    let stop = || Rule::new("stop", paths(Condition::default(), &["/x"]), Action::Reject);
    let there = to("192.0.2.1:80");
    let rules = Rules(vec![let_pass(), stop()]);
    for (target, expected) in [
        ("/ok", Some("pass")),
        ("/x", Some("stop")),
        ("/y", None),
        ("/ok%", Some("stop")),
        ("/y%zz", Some("stop")),
        ("nonsense", Some("stop")),
        ("*", None),
    ] {
        let said = decides(&rules, facts(&there), &get(target), None);
        assert_eq!(said, expected, "{target}");
    }
    let every = Rules(vec![Rule::new(
        "every",
        paths(Condition::default(), &["*"]),
        Action::Reject,
    )]);
    assert_eq!(
        decides(&every, facts(&there), &get("*"), None),
        Some("every")
    );
}

#[test]
fn what_is_rejected_is_not_reached_under_another_name() {
    let rules = Rules(vec![
        edits(direct("edits", host(&["good.example"]))),
        Rule::new("bad", host(&["bad.example"]), Action::Reject),
        direct("corp", host(&["corp.example"])),
    ]);
    let there = to("bad.example:80");
    let said = |host| decides(&rules, facts(&there), &get("/"), host);
    assert_eq!(said(Some("good.example")), Some("edits"));
    assert_eq!(said(Some("corp.example")), Some("bad"));
    assert_eq!(said(None), Some("bad"));
    let corp = to("corp.example:80");
    let said = |host| decides(&rules, facts(&corp), &get("/"), host);
    assert_eq!(said(Some("bad.example")), Some("bad"));
    assert_eq!(
        said(Some("other.example")),
        None,
        "the request's name counts"
    );
}

#[test]
fn a_request_in_opened_tls_is_of_both_protocols() {
    let app = |app| Condition {
        app: vec![app],
        ..Condition::default()
    };
    let there = to("192.0.2.1:443");
    let told = sniffed("a.example", App::Tls);
    let plain = sniffed("a.example", App::Http1);
    for (wanted, in_tls, in_plain) in [
        (App::Tls, true, false),
        (App::Http1, true, true),
        (App::Http2, false, false),
    ] {
        let rules = Rules(vec![opened(edits(direct("it", app(wanted))))]);
        let said = |told| decides(&rules, saying(&there, told), &get("/"), None).is_some();
        assert_eq!(said(&told), in_tls, "{wanted:?}");
        assert_eq!(said(&plain), in_plain, "{wanted:?}");
        let opens = rules.decide(saying(&there, &told));
        assert_eq!(opens, Decision::Open(&rules.0[0]), "{wanted:?}");
    }
}

#[test]
fn addresses_and_programs_are_asked_for_by_the_requests_that_are_meant() {
    let net = Condition {
        cidr: vec!["10.0.0.0/8".parse().unwrap()],
        ..host(&["a.example"])
    };
    let me = Condition {
        uid: vec!["1000".parse().unwrap()],
        ..host(&["b.example"])
    };
    let rules = Rules(vec![edits(direct("net", net)), edits(direct("me", me))]);
    let there = to("somewhere.example:80");
    let told = sniffed("c.example", App::Http1);
    let known = saying(&there, &told);
    assert_eq!(rules.decide(known), Decision::Inspect(&rules.0[0]));
    let request = get("/");
    let ask = |name: &str, facts| {
        let name = HostName::new(name).unwrap();
        rules.decide_request(facts, &RequestFacts::of(&request, Some(&name)))
    };
    assert_eq!(ask("a.example", known), RequestDecision::Resolve);
    assert_eq!(
        ask("b.example", known),
        RequestDecision::Unknown(&rules.0[1])
    );
    assert_eq!(ask("c.example", known), RequestDecision::Rule(None));
    let addresses = ["10.1.2.3".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let known = Facts {
        addresses: Some(&addresses),
        ..known
    };
    assert_eq!(
        ask("a.example", known),
        RequestDecision::Rule(Some(&rules.0[0]))
    );
    let name = HostName::new("a.example").unwrap();
    let asked = RequestFacts::of(&request, Some(&name));
    assert!(rules.pins_request(Some(&rules.0[0]), known, &asked));
    let name = HostName::new("c.example").unwrap();
    let asked = RequestFacts::of(&request, Some(&name));
    assert!(!rules.pins_request(None, known, &asked));
}

#[test]
fn secrets_are_expected_for_the_names_of_their_rules() {
    let mut rule = direct("secret", host(&["*.example"]));
    let value = Value {
        source: ValueSource::Env("TOKEN".to_owned()),
        prefix: String::new(),
        suffix: String::new(),
    };
    rule.http.request.set = vec![("authorization".to_owned(), value)];
    let rules = Rules(vec![edits(direct("other", Condition::default())), rule]);
    let ask = |name: &str| rules.may_hold_secret(HostName::new(name).ok().as_ref());
    assert!(ask("a.example"));
    assert!(!ask("a.test"));
    assert!(!rules.may_hold_secret(None));
}
