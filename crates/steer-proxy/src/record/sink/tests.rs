//! What becomes of records on their way to a sink.
use steer_core::address::ClientAddr;
use steer_core::method::Method;
use steer_core::steered::Identity;

use super::*;
use crate::record::ConnectionId;

fn record(port: u16) -> Record {
    let destination = format!("192.0.2.1:{port}").parse().unwrap();
    let client = ClientAddr("192.0.2.9:1234".parse().unwrap());
    Record::new(Method::Redirect, client, &destination, &Identity::default())
}

/// Fails for the first `failures` writes, taking `taken` bytes of each.
#[derive(Clone)]
struct Failing {
    failures: usize,
    taken: usize,
    written: Arc<Mutex<Vec<u8>>>,
    half: bool,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().unwrap();
        if self.failures == 0 {
            written.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        self.half = !self.half;
        if self.half {
            written.extend_from_slice(&bytes[..self.taken]);
            return Ok(self.taken);
        }
        self.failures -= 1;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_gets_every_record_as_a_line_after_those_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    for run in 0..2 {
        let recorder = Recorder::file(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let recorder = &recorder;
                scope.spawn(move || {
                    (1..=500)
                        .for_each(|port| recorder.write(&record(run * 2000 + thread * 500 + port)))
                });
            }
        });
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let mut ports: Vec<u16> = text
        .lines()
        .map(|line| serde_json::from_str::<Record>(line).unwrap().destination)
        .map(|destination| destination.rsplit_once(':').unwrap().1.parse().unwrap())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, (1..=4000).collect::<Vec<u16>>());
}

#[test]
fn a_failing_sink_loses_and_counts_records_and_never_tears_the_next_line() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Failing {
        failures: 1,
        taken: 10,
        written: Arc::clone(&written),
        half: false,
    };
    let recorder = Recorder::to(sink).unwrap();
    recorder.write(&record(1));
    while recorder.lost() == 0 {
        std::thread::yield_now();
    }
    recorder.write(&record(2));
    drop(recorder);
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap().len(), 10);
    assert_eq!(
        serde_json::from_str::<Record>(lines.next().unwrap()).unwrap(),
        record(2)
    );
    assert_eq!(lines.next(), None);
}

#[test]
fn requests_are_told_in_the_same_log_unless_they_are_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let request = RequestRecord::new(ConnectionId(1), "GET", Some("a.example"), Some("/"));
    let cases = [
        (
            Format::Json,
            true,
            vec![r#"{"kind":"connection""#, r#"{"kind":"request""#],
        ),
        (Format::Json, false, vec![r#"{"kind":"connection""#]),
        (Format::Text, true, vec![" ✓ ok ", " ✓ ok "]),
    ];
    for (number, (format, requests, beginnings)) in cases.into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        let mut recorder = Recorder::file(&path).unwrap().format(format);
        if !requests {
            recorder = recorder.without_requests();
        }
        assert_eq!(recorder.is_without_requests(), !requests);
        recorder.write(&record(1));
        recorder.share().write_request(&request);
        drop(recorder);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), beginnings.len(), "{text}");
        for (line, beginning) in text.lines().zip(beginnings) {
            assert!(line.contains(beginning), "{line}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = Recorder::file(Path::new("/nonexistent/log")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection records cannot be written to /nonexistent/log"
    );
    assert!(error.help().contains("/nonexistent/log"));
}

#[test]
fn a_shared_recorder_writes_to_the_same_sink_and_ends_nothing() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Failing {
        failures: 0,
        taken: 0,
        written: Arc::clone(&written),
        half: false,
    };
    let recorder = Recorder::to(sink).unwrap();
    let shared = recorder.share();
    shared.write(&record(1));
    drop(shared);
    recorder.write(&record(2));
    drop(recorder);
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("192.0.2.1:1") && lines[1].contains("192.0.2.1:2"),
        "{text}"
    );
}
