//! Queries that wait for an answer.
use std::time::Duration;

use tokio::time::Instant;

/// Queries that wait for an answer, the oldest one first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queries: Vec<Asked>,
    /// Whether they were asked a second time since the last answer.
    again: bool,
}

#[derive(Debug)]
struct Asked {
    query: Vec<u8>,
    at: Instant,
}

impl Pending {
    /// Notes a query. One that is too old goes: nobody waits for it any more.
    pub(super) fn add(&mut self, query: Vec<u8>) {
        let at = Instant::now();
        self.queries.retain(|asked| at - asked.at < PATIENCE);
        self.queries.push(Asked { query, at });
    }

    /// The ones with the identifier of an answer, by their place.
    pub(super) fn matching(&self, answer: &[u8]) -> Vec<usize> {
        let id = answer.get(..2);
        let same = |asked: &Asked| id.is_some() && asked.query.get(..2) == id;
        let places = self.queries.iter().enumerate();
        places
            .filter_map(|(place, asked)| same(asked).then_some(place))
            .collect()
    }

    pub(super) fn query(&self, place: usize) -> &[u8] {
        &self.queries[place].query
    }

    /// The query in this place was answered.
    pub(super) fn remove(&mut self, place: usize) {
        self.queries.remove(place);
        self.again = false;
    }

    pub(super) fn queries(&self) -> impl Iterator<Item = &[u8]> {
        self.queries.iter().map(|asked| asked.query.as_slice())
    }

    /// Whether they may be asked once more; they may once, until there is an answer.
    pub(super) fn again(&mut self) -> bool {
        !std::mem::replace(&mut self.again, true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Whether the client has to wait with more.
    pub(super) fn is_full(&self) -> bool {
        let now = Instant::now();
        let waits = |asked: &&Asked| now - asked.at < PATIENCE;
        self.queries.len() >= MOST && self.queries.iter().filter(waits).count() >= MOST
    }
}

/// How many may wait.
const MOST: usize = 128;

/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(10);
