//! Connection records, as a reader of the log sees them.

use std::fs;
use std::path::PathBuf;

use lab::eventually;
use serde_json::{Map, Value};

use crate::zone;

/// One line of the log.
pub type Record = Map<String, Value>;

/// The log of an instance.
#[derive(Clone, Debug)]
pub struct Records {
    path: PathBuf,
}

impl Records {
    /// The records in a file, which need not exist.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The records of connections that are written, but for those of lookups in the module `zone`.
    pub fn all(&self) -> Vec<Record> {
        let whole = self.lines().into_iter();
        let connections = whole.filter(|record| record["kind"] == "connection");
        let records = connections.filter(|record| !is_lookup(record));
        records.map(by_address).collect()
    }

    /// The records of requests that are written.
    pub fn requests(&self) -> Vec<Record> {
        let whole = self.lines().into_iter();
        whole.filter(|record| record["kind"] == "request").collect()
    }

    /// Waits until there are so many records of requests, and gives them.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Record> {
        eventually(&format!("{count} records of requests"), || {
            Some(self.requests()).filter(|records| records.len() >= count)
        })
    }

    fn lines(&self) -> Vec<Record> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        // The last line may be on its way.
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).expect("a record is an object"))
            .collect()
    }

    /// Waits until the records satisfy the condition, and gives them.
    pub fn wait(&self, what: &str, wanted: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        eventually(what, || Some(self.all()).filter(|records| wanted(records)))
    }

    /// Waits until there are so many records, and gives them.
    pub fn wait_for(&self, count: usize) -> Vec<Record> {
        self.wait(&format!("{count} records"), |records| {
            records.len() >= count
        })
    }

    /// Waits for the one record to this destination.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "addresses are small, names are literals"
    )]
    pub fn wait_to(&self, destination: impl ToString) -> Record {
        let destination = destination.to_string();
        let to = |record: &&Record| record["destination"] == destination;
        let what = format!("a record to {destination}");
        let found = self.wait(&what, |records| records.iter().any(|it| to(&it)));
        let mut found = found.into_iter().filter(|it| to(&it));
        let one = found.next().expect("waited for");
        assert!(found.next().is_none(), "several records to {destination}");
        one
    }
}

fn is_lookup(record: &Record) -> bool {
    let to = record.get("destination").and_then(Value::as_str);
    to.is_some_and(zone::is_resolver)
}

/// The record with the address that a name of the [`zone`] stands for as its destination.
fn by_address(mut record: Record) -> Record {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let meant = text("host")
        .zip(text("destination"))
        .and_then(|(host, to)| zone::meant(host, to));
    if let Some(to) = meant {
        record.insert("destination".to_owned(), to.to_string().into());
    }
    record
}
