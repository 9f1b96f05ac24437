//! The page, as it is read by others.
use super::*;

fn a_metrics() -> Metrics {
    let metrics = Metrics::default();
    for upstream in ["direct", "corp", "a \"quoted\\ name\""] {
        for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Denied] {
            metrics.began(Protocol::Tcp);
            metrics.ended(&Ended {
                method: Method::Redirect,
                protocol: Protocol::Tcp,
                upstream,
                outcome,
                sent: Some(100),
                received: None,
            });
        }
    }
    metrics.began(Protocol::Udp);
    metrics.connected(Duration::from_millis(30));
    metrics.request(Some(204), Some("identity"), "corp", Duration::from_secs(3));
    metrics.request(None, None, "direct", Duration::from_secs(3));
    metrics.refused(Reason::Loop);
    metrics.reloaded(Reloaded::Refused);
    metrics
}

fn levels() -> Levels {
    let endpoint = |address: &str, up| EndpointState {
        address: address.parse().unwrap(),
        up,
        failures: 5,
    };
    Levels {
        lost_records: 3,
        refused_flows: 4,
        upstreams: vec![UpstreamState {
            name: "corp".to_owned(),
            endpoints: vec![
                endpoint("10.0.0.1:1080", true),
                endpoint("[::1]:1080", false),
            ],
            live: 2,
            carried: 9,
            refused: 6,
        }],
    }
}

#[test]
fn the_page_tells_what_was_counted() {
    let page = a_metrics().render(&levels());
    for line in [
        r#"steer_connections_total{method="redirect",protocol="tcp",upstream="corp",outcome="ok"} 2"#,
        r#"steer_connections_total{method="redirect",protocol="tcp",upstream="corp",outcome="denied"} 1"#,
        r#"steer_connections_live{protocol="tcp"} 0"#,
        r#"steer_connections_live{protocol="udp"} 1"#,
        r#"steer_bytes_total{direction="sent"} 900"#,
        r#"steer_connect_seconds_bucket{le="0.025"} 0"#,
        r#"steer_connect_seconds_bucket{le="0.05"} 1"#,
        "steer_connect_seconds_sum 0.03",
        r#"steer_requests_total{code_class="2xx",upstream="corp",rule="identity"} 1"#,
        r#"steer_requests_total{code_class="none",upstream="direct",rule=""} 1"#,
        "steer_request_seconds_count 2",
        r#"steer_upstream_up{upstream="corp",endpoint="[::1]:1080"} 0"#,
        r#"steer_upstream_failures_total{upstream="corp",endpoint="10.0.0.1:1080"} 5"#,
        r#"steer_upstream_connections_live{upstream="corp"} 2"#,
        r#"steer_upstream_refused_total{upstream="corp"} 6"#,
        r#"steer_refused_total{reason="loop"} 1"#,
        r#"steer_refused_total{reason="flows"} 4"#,
        "steer_records_lost_total 3",
        r#"steer_reloads_total{outcome="refused"} 1"#,
    ] {
        assert!(page.lines().any(|it| it == line), "{line}\n{page}");
    }
}

#[test]
fn every_family_of_the_page_is_listed_and_documented() {
    let page = a_metrics().render(&levels());
    let typed = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let listed = FAMILIES.map(|family| format!("{} {}", family.name, family.kind.name()));
    assert_eq!(typed.collect::<Vec<_>>(), listed);
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let rows: Vec<&str> = docs
        .lines()
        .filter(|line| line.starts_with("| `steer_"))
        .collect();
    let expected = FAMILIES.map(|family| {
        let labels = family.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let (name, kind, help) = (family.name, family.kind.name(), family.help);
        format!("| `{name}` | {kind} | {labels} | {help} |").replace("|  |", "| |")
    });
    assert_eq!(rows, expected);
}

#[test]
fn upstreams_of_many_reloads_are_counted_together_at_last() {
    let metrics = Metrics::default();
    for number in 0..2 * MOST_UPSTREAMS {
        metrics.ended(&Ended {
            method: Method::Tun,
            protocol: Protocol::Udp,
            upstream: &format!("u{number}"),
            outcome: Outcome::Ok,
            sent: None,
            received: None,
        });
    }
    let page = metrics.render(&Levels::default());
    let lines = page
        .lines()
        .filter(|line| line.starts_with("steer_connections_total{"));
    assert_eq!(lines.count(), MOST_UPSTREAMS + 1);
    let rest = format!(r#"upstream="other",outcome="ok"}} {MOST_UPSTREAMS}"#);
    assert!(page.contains(&rest), "{page}");
}
