//! Where records go.
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Record, RequestRecord, text};

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

/// What a line of the records looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// A JSON object, whose keys are a contract.
    #[default]
    Json,
    /// Columns for people, which may change with any release.
    Text,
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
    format: Format,
    /// Whether requests are told too.
    requests: bool,
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
            format: Format::Json,
            requests: false,
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
            format: Format::Json,
            requests: true,
        })
    }

    /// The same with lines of this form.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The same without the records of requests.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.requests = false;
        self
    }

    /// Another recorder of the same sink. It loses what comes to it after the one that was opened
    /// is dropped.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            writer: None,
            format: self.format,
            requests: self.requests,
        }
    }

    /// Whether records go nowhere, so that none need be made.
    pub fn is_none(&self) -> bool {
        self.queue.is_none()
    }

    /// Whether records of requests go nowhere, so that none need be made.
    pub fn is_without_requests(&self) -> bool {
        self.queue.is_none() || !self.requests
    }

    /// Hands over the record of one connection.
    pub fn write(&self, record: &Record) {
        let Some(queue) = &self.queue else { return };
        queue.push(&match self.format {
            Format::Json => json(record),
            Format::Text => line(text::connection(record)),
        });
    }

    /// Hands over the record of one request.
    pub fn write_request(&self, record: &RequestRecord) {
        let Some(queue) = &self.queue else { return };
        if !self.requests {
            return;
        }
        queue.push(&match self.format {
            Format::Json => json(record),
            Format::Text => line(text::request(record)),
        });
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

fn json(record: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(640);
    serde_json::to_writer(&mut line, record).expect("a record is plain data");
    line.push(b'\n');
    line
}

fn line(mut text: String) -> Vec<u8> {
    text.push('\n');
    text.into_bytes()
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
