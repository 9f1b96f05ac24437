//! Events: what happens, as it happens, for whoever looks on.
//!
//! ```text
//! engine ─ Event ─> Events (a bounded ring) ─┬─ subscriber ─> Server (a unix socket), JSON lines
//!                                            └─ …
//! ```
//!
//! Whoever reads too slowly is told how much it has missed and is left behind: nobody who looks on
//! holds up a connection.
mod server;

use std::ops::Add;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use steer_core::address::Protocol;
use steer_core::method::Method;
use steer_core::steered::{Identity, Steered};
use time::OffsetDateTime;
use tokio::sync::broadcast;

use crate::metrics::Reloaded;
use crate::record::{ConnectionId, Record, RequestRecord, stamp};

pub use server::{Server, ServerError, Watched};

/// Where an engine tells what happens, cheap to clone.
///
/// ```
/// use steer_proxy::events::Events;
///
/// let events = Events::default();
/// assert!(!events.is_watched());
/// let subscriber = events.subscribe();
/// assert!(events.is_watched());
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    tell: broadcast::Sender<Arc<str>>,
}

impl Default for Events {
    fn default() -> Self {
        let (tell, _) = broadcast::channel(MOST_WAITING);
        Self { tell }
    }
}

/// Events that may wait for the slowest subscriber.
const MOST_WAITING: usize = 4096;

impl Events {
    /// Lines of JSON from here on, each an event.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.tell.subscribe()
    }

    /// Whether anybody looks on, so that an event is worth making.
    pub fn is_watched(&self) -> bool {
        self.tell.receiver_count() > 0
    }

    /// Tells an event to all who look on.
    pub fn tell(&self, event: &Event<'_>) {
        if self.is_watched() {
            // Whoever looked on may be gone by now.
            let _ = self.tell.send(line(event).into());
        }
    }
}

/// The line of an event.
fn line(event: &Event<'_>) -> String {
    let mut line = serde_json::to_string(event).expect("an event is plain data");
    line.push('\n');
    line
}

/// What happens. The names, and the keys of each, are a contract: `docs/records.md`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The first line of every subscriber.
    Hello {
        /// When: RFC 3339, UTC, milliseconds.
        time: String,
        /// The version of this program.
        version: &'static str,
    },
    /// A connection has come.
    ConnectionBegin(Begin<'a>),
    /// A connection has ended: its record.
    ConnectionEnd(&'a Record),
    /// A request has ended: its record.
    RequestEnd(&'a RequestRecord),
    /// An address of an upstream, as it is at first and whenever it has changed.
    Upstream {
        /// When.
        time: String,
        /// The upstream's name.
        upstream: &'a str,
        /// The address, as the configuration has it.
        endpoint: &'a str,
        /// Whether connections are sent there.
        up: bool,
    },
    /// A configuration was read again.
    Reload {
        /// When.
        time: String,
        /// `applied` or `refused`.
        outcome: &'static str,
        /// Why it was refused.
        error: Option<&'a str>,
    },
    /// What the engine counts, at first and whenever it has changed, once a second at most.
    Counters {
        /// When.
        time: String,
        /// The counts.
        #[serde(flatten)]
        counters: Counters,
    },
    /// The last line of a subscriber that was too slow.
    Lost {
        /// When.
        time: String,
        /// How many events it has missed.
        events: u64,
    },
}

/// What an engine counts, for a live view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections and flows that live.
    pub live: usize,
    /// Those that came in since the start.
    pub accepted: u64,
    /// Flows that were refused because there were too many.
    pub refused_flows: u64,
    /// Records that could not be written.
    pub lost_records: u64,
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            live: self.live + other.live,
            accepted: self.accepted + other.accepted,
            refused_flows: self.refused_flows + other.refused_flows,
            lost_records: self.lost_records + other.lost_records,
        }
    }
}

/// The start of a connection.
#[derive(Debug, Serialize)]
pub struct Begin<'a> {
    time: String,
    connection: ConnectionId,
    method: Method,
    protocol: Protocol,
    client: String,
    destination: String,
    pid: Option<u32>,
    uid: Option<u32>,
    exe: Option<&'a Path>,
    command: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// A connection has come, at this moment.
    pub fn begun(connection: ConnectionId, steered: &'a Steered) -> Self {
        let Steered {
            client,
            destination,
            identity,
            via,
            flow,
            ..
        } = steered;
        let Identity {
            pid,
            uid,
            exe,
            command,
            ..
        } = identity;
        Self::ConnectionBegin(Begin {
            time: now(),
            connection,
            method: *via,
            protocol: flow.protocol(),
            client: client.to_string(),
            destination: destination.to_string(),
            pid: *pid,
            uid: *uid,
            exe: exe.as_deref(),
            command: command.as_deref(),
        })
    }

    /// A configuration was read again, at this moment.
    pub fn reloaded(how: Reloaded, error: Option<&'a str>) -> Self {
        Self::Reload {
            time: now(),
            outcome: how.name(),
            error,
        }
    }

    fn hello() -> Self {
        Self::Hello {
            time: now(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn endpoint(upstream: &'a str, endpoint: &'a str, up: bool) -> Self {
        Self::Upstream {
            time: now(),
            upstream,
            endpoint,
            up,
        }
    }

    fn counters(counters: Counters) -> Self {
        Self::Counters {
            time: now(),
            counters,
        }
    }

    fn lost(events: u64) -> Self {
        Self::Lost {
            time: now(),
            events,
        }
    }
}

fn now() -> String {
    stamp(OffsetDateTime::now_utc())
}

#[cfg(test)]
mod tests {
    use steer_core::address::ClientAddr;

    use super::*;

    #[test]
    fn an_event_of_an_end_is_the_record_with_its_name_before_it() {
        let client = ClientAddr("192.0.2.1:4".parse().unwrap());
        let destination = "192.0.2.2:5".parse().unwrap();
        let record = Record::new(Method::Tun, client, &destination, &Identity::default());
        let line = line(&Event::ConnectionEnd(&record));
        let written = serde_json::to_string(&record).unwrap();
        assert_eq!(
            line,
            format!("{{\"event\":\"connection-end\",{}\n", &written[1..])
        );
    }

    #[test]
    fn an_event_is_a_line_with_its_name() {
        let told = line(&Event::reloaded(Reloaded::Refused, Some("a\nb")));
        assert!(told.starts_with(r#"{"event":"reload","time":""#), "{told}");
        assert!(
            told.ends_with("\"outcome\":\"refused\",\"error\":\"a\\nb\"}\n"),
            "{told}"
        );
        let told = line(&Event::counters(Counters::default()));
        assert!(told.contains(r#""live":0,"accepted":0,"refused_flows":0,"lost_records":0}"#));
    }

    #[test]
    fn nothing_is_made_where_nobody_looks_on() {
        let events = Events::default();
        events.tell(&Event::lost(1));
        let mut subscriber = events.subscribe();
        events.tell(&Event::lost(2));
        let told = subscriber.try_recv().unwrap();
        assert!(told.contains(r#""events":2"#), "{told}");
        assert!(subscriber.try_recv().is_err());
    }
}
