use steer_core::policy::{Policy, Value, ValueSource};
use steer_http::Version;

use super::*;

fn literal(text: &str) -> Value {
    Value {
        source: ValueSource::Literal(text.to_owned()),
        prefix: String::new(),
        suffix: String::new(),
    }
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
    let one = |(name, text): &(&str, &str)| ((*name).to_owned(), literal(text));
    pairs.iter().map(one).collect()
}

fn pairs(fields: &Fields) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    fields.iter().map(|(n, v)| (text(n), text(v))).collect()
}

#[tokio::test]
async fn fields_are_taken_away_then_set_then_added() {
    let edits = Edits {
        remove: vec!["x-debug".to_owned(), "x-new".to_owned()],
        set: named(&[("accept", "text/html"), ("x-new", "1")]),
        add: named(&[("via", "steer"), ("x-new", "2")]),
    };
    let mut fields = Fields::default();
    for (name, value) in [
        ("Host", "a.example"),
        ("X-Debug", "1"),
        ("Accept", "a"),
        ("Via", "other"),
        ("accept", "b"),
        ("x-debug", "2"),
    ] {
        fields.add(name, value);
    }
    let values = Values::new(&Policy::default()).unwrap();
    let found = find(&edits, &values).await.unwrap();
    apply(&edits, found, &mut fields);
    assert_eq!(
        pairs(&fields),
        [
            ("Host", "a.example"),
            ("accept", "text/html"),
            ("Via", "other"),
            ("x-new", "1"),
            ("via", "steer"),
            ("x-new", "2"),
        ]
    );
}

#[tokio::test]
async fn a_value_that_is_missing_changes_nothing() {
    let gone = Value {
        source: ValueSource::File("/nonexistent/token".into()),
        ..literal("")
    };
    let edits = Edits {
        set: vec![("authorization".to_owned(), gone)],
        ..Edits::default()
    };
    let values = Values::new(&Policy::default()).unwrap();
    let error = find(&edits, &values).await.err().unwrap();
    assert!(matches!(error, ValueError::Read { .. }), "{error}");
}

fn target(edit: (&str, &str), target: &str) -> Result<String, Unreadable> {
    let mut request = Request {
        version: Version::Http11,
        method: "GET".to_owned(),
        target: target.to_owned(),
        authority: None,
        fields: Fields::default(),
    };
    let edit = PathEdit {
        strip: edit.0.to_owned(),
        prefix: edit.1.to_owned(),
    };
    path(&edit, &mut request)?;
    Ok(request.target)
}

#[test]
fn whole_segments_are_stripped_and_put_before_the_rest() {
    for (edit, from, to) in [
        (("/v1", "/api"), "/v1/users?a=/v1", "/api/users?a=/v1"),
        (("/v1", "/api"), "/v1", "/api"),
        (("/v1", "/api"), "/v1?x", "/api?x"),
        (("/v1", ""), "/v1", "/"),
        (("/v1", ""), "/v1/", "/"),
        (("/v1", ""), "/v10/users", "/v10/users"),
        (("/v1", "/api"), "/v10/users", "/api/v10/users"),
        (("", "/api"), "/", "/api/"),
        (("/v1/", "/api/"), "/v1/a", "/api/a"),
        (
            ("/v1", "/api"),
            "http://a.example/v1/x",
            "http://a.example/api/x",
        ),
        (
            ("/v1", "/api"),
            "http://a.example?q",
            "http://a.example/api/?q",
        ),
        (("/v1", "/api"), "*", "*"),
    ] {
        assert_eq!(target(edit, from).as_deref(), Ok(to), "{edit:?} {from}");
    }
}

#[test]
fn what_is_put_before_a_path_is_not_left_by_dots() {
    for (edit, from, to) in [
        (("", "/api"), "/../admin", "/api/admin"),
        (("", "/api"), "/x/%2e%2e/%2E%2e/admin", "/api/admin"),
        (("/v1", "/api"), "/x/../%761/y", "/api/y"),
        (("/v1", "/api"), "/v1/..", "/api/"),
    ] {
        assert_eq!(target(edit, from).as_deref(), Ok(to), "{edit:?} {from}");
    }
    for from in ["/../admin%", "/%zz", "nonsense"] {
        assert_eq!(target(("", "/api"), from), Err(Unreadable), "{from}");
    }
}

proptest::proptest! {
    #[test]
    fn an_edited_path_is_below_what_is_put_before_it(path in "/[a./%2eEv1]{0,16}") {
        if let Ok(edited) = target(("/v1", "/api"), &path) {
            let below = edited.strip_prefix("/api");
            let below = below.filter(|rest| rest.is_empty() || rest.starts_with('/'));
            proptest::prop_assert!(below.is_some(), "{}", edited);
            let again = NormalPath::of(&edited).unwrap();
            proptest::prop_assert!(again.as_str().starts_with("/api"), "{}", edited);
        }
    }
}
