//! Where records go.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Record;

/// A record sink that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file could not be opened for appending.
    #[error("connection records cannot be written to {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that writes could not be started.
    #[error("the writer of connection records could not be started")]
    Thread(#[source] io::Error),
}

impl SinkError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Open { path, .. } => {
                format!(
                    "make sure that the folder of {} exists and can be written to, or log to stdout",
                    path.display()
                )
            }
            Self::Thread(_) => "raise the limit on processes (ulimit -u)".to_owned(),
        }
    }
}

/// Writes records, each as one line, without ever holding up the connections.
///
/// A thread of its own does the writing: a full disk or a reader that stops reading must not stop
/// traffic. Lines that arrive within a few milliseconds share one write. What cannot be written is
/// counted and warned about, at most every ten seconds. Dropping the recorder writes what waits.
#[derive(Debug)]
pub struct Recorder {
    queue: Option<Arc<Queue>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    count: u64,
    closed: bool,
}

impl Recorder {
    /// A recorder that drops everything.
    pub fn none() -> Self {
        Self {
            queue: None,
            writer: None,
        }
    }

    /// A recorder that appends to a file, which is made if it does not exist.
    pub fn file(path: &Path) -> Result<Self, SinkError> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let file: File = opened.map_err(|source| SinkError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::to(file)
    }

    /// A recorder that writes to the standard output.
    pub fn stdout() -> Result<Self, SinkError> {
        Self::to(io::stdout())
    }

    /// A recorder that writes to anything.
    pub fn to(sink: impl Write + Send + 'static) -> Result<Self, SinkError> {
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        let writer = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || shared.write_all(sink))
            .map_err(SinkError::Thread)?;
        Ok(Self {
            queue: Some(queue),
            writer: Some(writer),
        })
    }

    /// Another recorder of the same sink. It loses what comes to it after the one that was opened
    /// is dropped.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            writer: None,
        }
    }

    /// Whether records go nowhere, so that none need be made.
    pub fn is_none(&self) -> bool {
        self.queue.is_none()
    }

    /// Hands over one record.
    pub fn write(&self, record: &Record) {
        let Some(queue) = &self.queue else { return };
        let mut line = Vec::with_capacity(512);
        serde_json::to_writer(&mut line, record).expect("a record is plain data");
        line.push(b'\n');
        queue.push(&line);
    }

    /// Records that could not be written.
    pub fn lost(&self) -> u64 {
        self.queue
            .as_ref()
            .map_or(0, |queue| queue.lost.load(Relaxed))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        if let Some(queue) = &self.queue {
            queue.state().closed = true;
            queue.arrived.notify_one();
            // A writer that panicked has lost its lines; there is nobody left to tell.
            let _ = writer.join();
        }
    }
}

/// Bytes that may wait for a slow sink.
const MOST_WAITING: usize = 8 << 20;

/// How long the writer waits for company before it writes.
const GATHER: Duration = Duration::from_millis(5);

/// The least time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid after every statement, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > MOST_WAITING {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let first = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        state.count += 1;
        drop(state);
        if first {
            self.arrived.notify_one();
        }
    }

    /// The life of the writer.
    fn write_all(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        let mut warnings = Warnings::default();
        let mut torn = false;
        let mut written = None::<Instant>;
        loop {
            let mut state = self.state();
            while state.lines.is_empty() && !state.closed {
                state = self
                    .arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            // A line that comes alone is written at once; those of a burst share a write.
            if !state.closed && written.is_some_and(|last| last.elapsed() < GATHER) {
                drop(state);
                std::thread::sleep(GATHER);
                state = self.state();
            }
            let (closed, count) = (state.closed, std::mem::take(&mut state.count));
            std::mem::swap(&mut batch, &mut state.lines);
            drop(state);
            if torn && !batch.is_empty() {
                // Ends the line that a failed write has cut, so that the next one stands alone.
                batch.insert(0, b'\n');
            }
            match write_batch(&mut sink, &batch) {
                Ok(()) => torn = false,
                Err(error) => {
                    self.lost.fetch_add(count, Relaxed);
                    torn = true;
                    warnings.failed(&error);
                }
            }
            written = Some(Instant::now());
            warnings.lost(self.lost.load(Relaxed));
            batch.clear();
            if closed && self.state().lines.is_empty() {
                return;
            }
        }
    }
}

fn write_batch(sink: &mut impl Write, batch: &[u8]) -> io::Result<()> {
    sink.write_all(batch)?;
    sink.flush()
}

/// Says that records are lost, not more often than someone can act on it.
#[derive(Debug, Default)]
struct Warnings {
    told: u64,
    last: Option<Instant>,
    error: Option<String>,
}

impl Warnings {
    fn failed(&mut self, error: &io::Error) {
        self.error = Some(error.to_string());
    }

    fn lost(&mut self, lost: u64) {
        let due = self.last.is_none_or(|last| last.elapsed() >= WARN_EVERY);
        if lost > self.told && due {
            let error = self
                .error
                .take()
                .unwrap_or_else(|| "the sink is too slow".to_owned());
            tracing::warn!(lost, %error, "connection records are lost; traffic goes on");
            self.told = lost;
            self.last = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use steer_core::address::ClientAddr;
    use steer_core::method::Method;
    use steer_core::steered::Identity;

    use super::*;

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
                        (1..=500).for_each(|port| {
                            recorder.write(&record(run * 2000 + thread * 500 + port))
                        })
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
}
