//! Who is told what, and for how long.
use std::io::{BufRead, BufReader, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use super::*;
use crate::upstream::EndpointState;

#[derive(Debug, Default)]
struct Scene(Mutex<Vec<UpstreamState>>, AtomicU64);

impl Watched for Scene {
    fn counters(&self) -> Counters {
        Counters {
            accepted: self.1.load(Relaxed),
            ..Counters::default()
        }
    }

    fn upstreams(&self) -> Vec<UpstreamState> {
        self.0.lock().unwrap().clone()
    }
}

struct Bench {
    folder: tempfile::TempDir,
    events: Events,
    scene: Arc<Scene>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            events: Events::default(),
            scene: Arc::default(),
            runtime,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("events")
    }

    fn accepted(&self, count: u64) {
        self.scene.1.store(count, Relaxed);
    }

    fn serve(&self) {
        let server = Server::bind(&self.path()).unwrap();
        let scene: Arc<Scene> = Arc::clone(&self.scene);
        self.runtime.spawn(server.serve(self.events.clone(), scene));
    }

    fn subscribe(&self) -> BufReader<Probe> {
        let stream = Probe::connect(self.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        BufReader::new(stream)
    }
}

fn next(subscriber: &mut BufReader<Probe>) -> Value {
    let mut line = String::new();
    subscriber.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// The next event of this name.
fn next_of(subscriber: &mut BufReader<Probe>, name: &str) -> Value {
    loop {
        let event = next(subscriber);
        if event["event"] == name {
            return event;
        }
    }
}

fn reload(events: &Events) {
    events.tell(&Event::reloaded(crate::metrics::Reloaded::Applied, None));
}

#[test]
fn a_subscriber_is_greeted_and_told_what_is_and_what_happens() {
    let bench = Bench::new();
    let up = |up| UpstreamState {
        name: "corp".to_owned(),
        endpoints: vec![EndpointState {
            address: "10.0.0.1:1080".parse().unwrap(),
            up,
            failures: 0,
        }],
        live: 0,
        carried: 0,
        refused: 0,
    };
    bench.scene.0.lock().unwrap().push(up(true));
    bench.accepted(7);
    bench.serve();
    let mut subscriber = bench.subscribe();
    assert_eq!(next(&mut subscriber)["event"], "hello");
    reload(&bench.events);
    assert_eq!(next_of(&mut subscriber, "reload")["outcome"], "applied");
    let mut subscriber = bench.subscribe();
    assert_eq!(next_of(&mut subscriber, "upstream")["up"], true);
    assert_eq!(next_of(&mut subscriber, "counters")["accepted"], 7);
    *bench.scene.0.lock().unwrap() = vec![up(false)];
    let down = next_of(&mut subscriber, "upstream");
    assert_eq!(
        (&down["up"], &down["upstream"]),
        (&false.into(), &"corp".into())
    );
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_with_the_number_of_what_it_missed() {
    let bench = Bench::new();
    bench.serve();
    let mut slow = bench.subscribe();
    assert_eq!(next(&mut slow)["event"], "hello");
    // Far more than the socket and the ring hold together; nobody waits for it.
    for _ in 0..60_000 {
        reload(&bench.events);
    }
    let mut text = String::new();
    slow.read_to_string(&mut text).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "lost");
    assert!(last["events"].as_u64() > Some(0), "{last}");
    let mut next_one = bench.subscribe();
    assert_eq!(next(&mut next_one)["event"], "hello");
    reload(&bench.events);
    assert_eq!(next_of(&mut next_one, "reload")["outcome"], "applied");
}

#[test]
fn who_has_gone_is_not_told_anything() {
    let bench = Bench::new();
    bench.serve();
    let mut subscriber = bench.subscribe();
    next(&mut subscriber);
    assert!(bench.events.is_watched());
    drop(subscriber);
    let begun = std::time::Instant::now();
    while bench.events.is_watched() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it is still told"
        );
        std::thread::yield_now();
    }
}

#[test]
fn the_socket_is_for_its_user_alone_and_goes_with_the_server() {
    let bench = Bench::new();
    let server = Server::bind(&bench.path()).unwrap();
    let mode = fs::metadata(bench.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = Server::bind(&bench.path()).unwrap_err();
    assert!(matches!(error, ServerError::Taken(_)), "{error}");
    assert!(
        bench.path().exists(),
        "the socket of the other is left alone"
    );
    drop(server);
    assert!(!bench.path().exists());
}

#[test]
fn a_socket_that_a_crash_left_is_replaced_and_other_files_are_not() {
    let bench = Bench::new();
    drop(Bound::bind(bench.path()).unwrap());
    assert!(bench.path().exists());
    drop(Server::bind(&bench.path()).unwrap());
    fs::write(bench.path(), "precious").unwrap();
    let error = Server::bind(&bench.path()).unwrap_err();
    assert!(matches!(error, ServerError::NoSocket(_)), "{error}");
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "precious");
}

#[test]
fn a_subscriber_that_says_no_more_is_told_on() {
    let bench = Bench::new();
    bench.serve();
    let mut subscriber = bench.subscribe();
    next(&mut subscriber);
    let stream = subscriber.get_ref();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Two beats, so that it was looked whether it has gone.
    for accepted in [1, 2] {
        bench.accepted(accepted);
        while next_of(&mut subscriber, "counters")["accepted"] != accepted {}
    }
    reload(&bench.events);
    assert_eq!(next_of(&mut subscriber, "reload")["outcome"], "applied");
}
