//! Another policy and other records while connections live.
use std::sync::{Arc, Mutex};

use steer_core::address::Destination;
use steer_core::policy::{Action, Condition, Policy, Upstream, UpstreamKind};
use steer_proxy::engine::{Engine, EngineError};
use steer_proxy::record::{Outcome, Record, Recorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, broken, rule, server, socks5_proxy, soon, through};

fn reject(name: &str) -> Policy {
    Policy {
        upstreams: Vec::new(),
        rules: vec![rule(name, Condition::default(), Action::Reject)],
        ..Policy::default()
    }
}

#[tokio::test]
async fn whoever_comes_after_a_change_goes_by_it_and_whoever_came_before_goes_on() {
    let (proxy, asked) = socks5_proxy().await;
    let mut bench = Bench::new(through("first", UpstreamKind::Socks5, proxy, None));
    let (_listener, address) = server().await;
    let mut early = bench.program(address).await;
    early.write_all(b"a").await.unwrap();
    let (target, mut far) = soon(asked).await.unwrap();
    assert_eq!(target, address.to_string());
    let before = bench
        .engine
        .change(bench.engine.prepare(reject("no")).unwrap());
    let mut late = bench.program(address).await;
    broken(&mut late).await;
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Denied);
    assert_eq!(record.rule.as_deref(), Some("no"));
    // Put back, it holds for the next one; what lives between has never noticed.
    drop(bench.engine.change(before));
    let mut got = [0; 1];
    soon(far.read_exact(&mut got)).await.unwrap();
    far.write_all(b"b").await.unwrap();
    soon(early.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"b");
    drop((early, far));
    let record = bench.record().await;
    assert_eq!(
        (record.upstream.as_str(), record.outcome),
        ("first", Outcome::Ok)
    );
}

#[tokio::test]
async fn a_policy_that_is_wrong_is_an_error_and_changes_nothing() {
    let (listener, address) = server().await;
    let builder = Engine::builder(Policy::default()).listener("127.0.0.1:9".parse().unwrap());
    let bench = Bench::with(builder);
    let missing = Policy {
        upstreams: Vec::new(),
        rules: vec![rule(
            "far",
            Condition::default(),
            Action::Upstream("gone".to_owned()),
        )],
        ..Policy::default()
    };
    let error = bench.engine.prepare(missing).unwrap_err();
    assert!(
        matches!(error, EngineError::UnknownUpstream { .. }),
        "{error}"
    );
    let own = Policy {
        upstreams: vec![Upstream::new(
            "own",
            UpstreamKind::Http,
            Destination::addr("127.0.0.1:9".parse().unwrap()),
        )],
        rules: Vec::new(),
        ..Policy::default()
    };
    let error = bench.engine.prepare(own).unwrap_err();
    assert!(matches!(error, EngineError::OwnUpstream { .. }), "{error}");
    let _program = bench.program(address).await;
    soon(listener.accept()).await.unwrap();
}

#[tokio::test]
async fn a_connection_s_record_goes_where_records_go_when_it_ends() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let first = bench.program(address).await;
    let (accepted, _) = soon(listener.accept()).await.unwrap();
    drop((first, accepted));
    bench.record().await;
    let second = bench.program(address).await;
    let (accepted, _) = soon(listener.accept()).await.unwrap();
    let before = bench
        .engine
        .record_to(Recorder::to(Shared(Arc::clone(&written))).unwrap());
    drop((second, accepted));
    bench.engine.drain(std::time::Duration::from_secs(20)).await;
    drop(bench.engine.record_to(before));
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let records: Vec<Record> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 1, "{text}");
    assert_eq!(records[0].destination, address.to_string());
    assert!(bench.is_quiet());
    assert_eq!(bench.engine.lost_records(), 0);
}

/// What is written, where others see it.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
