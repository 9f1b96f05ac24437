//! What is counted and told of connections.
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use steer_core::policy::{Action, Condition, Policy};
use steer_proxy::engine::Engine;
use steer_proxy::record::Outcome;
use tokio::sync::broadcast::Receiver;

use crate::bench::{Bench, broken, rule, server, soon};

fn rejecting() -> Policy {
    let condition = Condition {
        port: vec!["443".parse().unwrap()],
        ..Condition::default()
    };
    Policy {
        rules: vec![rule("no-tls", condition, Action::Reject)],
        ..Policy::default()
    }
}

fn page(engine: &Engine) -> String {
    engine.metrics().render(&engine.levels())
}

#[track_caller]
fn assert_line(page: &str, line: &str) {
    assert!(page.lines().any(|it| it == line), "{line}\n{page}");
}

async fn next(events: &mut Receiver<Arc<str>>) -> Value {
    let line = soon(events.recv()).await.unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test]
async fn connections_are_counted_by_how_they_ended() {
    let mut bench = Bench::new(rejecting());
    let (listener, address) = server().await;
    let program = bench.program(address).await;
    let (served, _) = soon(listener.accept()).await.unwrap();
    assert_line(
        &page(&bench.engine),
        r#"steer_connections_live{protocol="tcp"} 1"#,
    );
    drop((program, served));
    bench.record().await;
    let mut rejected = bench.program("192.0.2.1:443").await;
    broken(&mut rejected).await;
    assert_eq!(bench.record().await.outcome, Outcome::Denied);
    let page = page(&bench.engine);
    for line in [
        r#"steer_connections_live{protocol="tcp"} 0"#,
        r#"steer_connections_total{method="redirect",protocol="tcp",upstream="direct",outcome="ok"} 1"#,
        r#"steer_connections_total{method="redirect",protocol="tcp",upstream="none",outcome="denied"} 1"#,
        r#"steer_refused_total{reason="rule"} 1"#,
        "steer_connect_seconds_count 1",
    ] {
        assert_line(&page, line);
    }
}

#[tokio::test]
async fn a_dial_that_would_come_back_is_counted_as_a_loop() {
    let (listener, address) = server().await;
    let mut bench = Bench::with(Engine::builder(Policy::default()).listener(address));
    let mut program = bench.program(address).await;
    broken(&mut program).await;
    assert_eq!(bench.record().await.outcome, Outcome::Loop);
    assert_line(
        &page(&bench.engine),
        r#"steer_refused_total{reason="loop"} 1"#,
    );
    drop(listener);
}

#[tokio::test]
async fn who_looks_on_is_told_of_a_connection_when_it_begins_and_when_it_ends() {
    let mut bench = Bench::new(rejecting());
    let mut events = bench.engine.events().subscribe();
    let (listener, address) = server().await;
    let program = bench.program(address).await;
    let (served, _) = soon(listener.accept()).await.unwrap();
    let begun = next(&mut events).await;
    assert_eq!(begun["event"], "connection-begin");
    assert_eq!(begun["destination"], address.to_string());
    assert_eq!(
        (&begun["pid"], &begun["method"]),
        (&7.into(), &"redirect".into())
    );
    drop((program, served));
    let ended = next(&mut events).await;
    assert_eq!(
        (&ended["event"], &ended["outcome"]),
        (&"connection-end".into(), &"ok".into())
    );
    assert_eq!(ended["connection"], begun["connection"]);
    let record = bench.record().await;
    assert_eq!(
        ended["connection"],
        serde_json::to_value(record.connection).unwrap()
    );
    assert!(begun["connection"].as_u64() > Some(0), "{begun}");
}

/// What is written, for a test to read.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_event_tells_the_end_of_a_connection_inside_its_span() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut bench = Bench::new(rejecting());
    let mut rejected = bench.program("192.0.2.1:443").await;
    broken(&mut rejected).await;
    let record = bench.record().await;
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [line] = lines.as_slice() else {
        panic!("one line, not {text}");
    };
    let span = format!("connection{{id={} method=redirect", record.connection);
    for part in [
        span.as_str(),
        "destination=192.0.2.1:443}",
        "a connection has ended",
        "outcome=\"denied\"",
        "rule=\"no-tls\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
