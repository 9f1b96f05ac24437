//! Records: one line for each connection and for each request in it, written when it ends.
//!
//! ```text
//! connection ─> Record ────────┐
//!                              ├─ Recorder ─ json | text ─> stdout, stderr, a file
//! request ────> RequestRecord ─┘
//! ```
#[cfg(test)]
mod documented;
mod id;
mod request;
mod sink;
mod text;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use steer_core::address::{ClientAddr, Destination, HostName, Protocol};
use steer_core::method::Method;
use steer_core::policy::App;
use steer_core::steered::{Identity, Refusal};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

pub use id::ConnectionId;
pub use request::RequestRecord;
pub use sink::{Format, Recorder, SinkError};

/// What happened to one connection. The keys of its JSON form and their values are a contract.
///
/// ```
/// use steer_core::address::{ClientAddr, Destination};
/// use steer_core::method::Method;
/// use steer_core::steered::Identity;
/// use steer_proxy::record::{Outcome, Record};
///
/// let destination = Destination::parse_host("example.com", 443).unwrap();
/// let client = ClientAddr("192.0.2.1:40000".parse().unwrap());
/// let mut record = Record::new(Method::Explicit, client, &destination, &Identity::default());
/// record.outcome = Outcome::Denied;
/// let line = serde_json::to_value(&record).unwrap();
/// assert_eq!(line["kind"], "connection");
/// assert_eq!(line["destination"], "example.com:443");
/// assert_eq!(line["outcome"], "denied");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "connection")]
pub struct Record {
    /// When the connection ended: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// The method that brought it.
    pub method: Method,
    /// The transport.
    pub protocol: Protocol,
    /// The program's address.
    pub client: String,
    /// What the program asked for: `203.0.113.7:443`, `[2001:db8::1]:443` or `name:443`.
    pub destination: String,
    /// The name that it is for, where one is known.
    pub host: Option<HostName>,
    /// Where that name comes from.
    pub host_from: Option<HostFrom>,
    /// The application protocol.
    pub app: App,
    /// The process that asked.
    pub pid: Option<u32>,
    /// The user that asked.
    pub uid: Option<u32>,
    /// The program file that asked.
    pub exe: Option<PathBuf>,
    /// The group that asked.
    pub gid: Option<u32>,
    /// The name of the process that asked.
    pub command: Option<String>,
    /// Its cgroup, as a path below the root of the unified hierarchy.
    pub cgroup: Option<String>,
    /// The id of the container that it is in.
    pub container: Option<String>,
    /// The rule that decided; none where no rule matched.
    pub rule: Option<String>,
    /// `direct`, the name of the upstream, or `none` where nothing was dialled.
    pub upstream: String,
    /// Bytes that the program sent; none where nobody could count.
    pub sent: Option<u64>,
    /// Bytes that the program received; none where nobody could count.
    pub received: Option<u64>,
    /// How long it lived, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, in words.
    pub error: Option<String>,
    /// Tells it from every other one of the process; its requests carry the same.
    pub connection: ConnectionId,
    /// How many requests were made in it; none where nobody looked.
    pub requests: Option<u64>,
    /// What became of the TLS in it; none where there was none.
    pub tls: Option<TlsSeen>,
    /// The server name that the client's hello asks for.
    pub sni: Option<HostName>,
    /// The protocols that the client's hello offers, in its order; none where there is no hello.
    pub alpn: Option<Vec<String>>,
}

/// What became of the TLS in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsSeen {
    /// It passed as it was.
    Pass,
    /// It was opened.
    Intercepted,
}

/// Where the name of a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostFrom {
    /// An answer of the resolver.
    Dns,
    /// An address that stands for a name.
    FakeIp,
    /// The server name of a TLS hello.
    Sni,
    /// The server name of a QUIC hello.
    Quic,
    /// The target or Host field of an HTTP request.
    Http,
    /// The name that an explicit client asked for.
    Connect,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Both sides ended it in order; of UDP: it rested after something had come back, or the client
    /// was gone.
    Ok,
    /// The destination refused it; of UDP: its port did, by ICMP, at any time.
    Refused,
    /// One side reset it, or the engine did when it stopped.
    Reset,
    /// A deadline passed; of UDP: nothing ever came back.
    Timeout,
    /// A rule rejected it.
    Denied,
    /// It would have come back to the engine.
    Loop,
    /// Anything else.
    Error,
}

impl Record {
    /// The record of a connection about which nothing but its start is known.
    pub fn new(
        method: Method,
        client: ClientAddr,
        destination: &Destination,
        identity: &Identity,
    ) -> Self {
        let Identity {
            pid,
            uid,
            gid,
            exe,
            command,
            cgroup,
            container,
        } = identity.clone();
        let asked_by_name = destination.name().cloned();
        Self {
            time: String::new(),
            method,
            protocol: Protocol::Tcp,
            client: client.to_string(),
            destination: destination.to_string(),
            host_from: asked_by_name.as_ref().map(|_| HostFrom::Connect),
            host: asked_by_name,
            app: App::Opaque,
            pid,
            uid,
            exe,
            gid,
            command,
            cgroup,
            container,
            rule: None,
            upstream: NO_UPSTREAM.to_owned(),
            sent: Some(0),
            received: Some(0),
            duration_ms: 0,
            outcome: Outcome::Ok,
            error: None,
            connection: ConnectionId::default(),
            requests: None,
            tls: None,
            sni: None,
            alpn: None,
        }
    }

    /// Stamps the record with the end of the connection.
    pub fn end(&mut self, at: OffsetDateTime) {
        self.time = stamp(at);
    }

    /// Notes the protocols that a hello offers, as many as a sensible client has.
    pub fn offered(&mut self, alpn: Vec<String>) {
        let mut alpn = alpn;
        alpn.truncate(MOST_OFFERED);
        self.alpn = Some(alpn);
    }
}

/// Protocols of one hello that are told; a hello has room for thousands.
const MOST_OFFERED: usize = 16;

impl Outcome {
    /// Every way to end.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Refused,
        Self::Reset,
        Self::Timeout,
        Self::Denied,
        Self::Loop,
        Self::Error,
    ];

    /// The word in records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::Loop => "loop",
            Self::Error => "error",
        }
    }
}

/// A time as it stands in records.
pub(crate) fn stamp(at: OffsetDateTime) -> String {
    let utc = at.to_offset(UtcOffset::UTC);
    utc.format(RFC3339_MILLIS)
        .expect("every field of the format is one of a date and time")
}

/// RFC 3339 with always three digits of a second's fraction, so that lines sort as text.
const RFC3339_MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The `upstream` of a connection for which nothing was dialled.
pub const NO_UPSTREAM: &str = "none";

/// The `upstream` of a connection to its destination itself.
pub const DIRECT: &str = "direct";

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Refused => Self::Refused,
            Refusal::Reset => Self::Reset,
            Refusal::TimedOut => Self::Timeout,
            Refusal::Denied => Self::Denied,
            Refusal::Loop => Self::Loop,
            _ => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn record() -> Record {
        let destination = "[2001:db8::1]:443".parse().unwrap();
        let client = ClientAddr("[::ffff:192.0.2.9]:1234".parse().unwrap());
        let identity = Identity {
            pid: Some(7),
            uid: Some(1000),
            gid: Some(100),
            exe: Some("/usr/bin/curl".into()),
            command: Some("curl".to_owned()),
            cgroup: Some("user.slice".to_owned()),
            container: None,
        };
        Record::new(Method::Redirect, client, &destination, &identity)
    }

    #[test]
    fn the_keys_and_spellings_are_the_contract() {
        let mut record = record();
        record.end(datetime!(2026-03-01 01:02:03.450789 +02:00));
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            concat!(
                r#"{"kind":"connection","time":"2026-02-28T23:02:03.450Z","method":"redirect","protocol":"tcp","#,
                r#""client":"192.0.2.9:1234","destination":"[2001:db8::1]:443","host":null,"#,
                r#""host_from":null,"app":"opaque","pid":7,"uid":1000,"exe":"/usr/bin/curl","#,
                r#""gid":100,"command":"curl","cgroup":"user.slice","container":null,"#,
                r#""rule":null,"upstream":"none","sent":0,"received":0,"duration_ms":0,"#,
                r#""outcome":"ok","error":null,"connection":0,"requests":null,"tls":null,"#,
                r#""sni":null,"alpn":null}"#
            )
        );
        assert_eq!(
            serde_json::to_string(&HostFrom::FakeIp).unwrap(),
            r#""fake-ip""#
        );
        assert_eq!(
            serde_json::to_string(&Outcome::Denied).unwrap(),
            r#""denied""#
        );
    }

    #[test]
    fn a_record_can_be_read_back() {
        let mut record = record();
        record.connection = ConnectionId::next();
        record.tls = Some(TlsSeen::Intercepted);
        record.offered(vec!["h2".to_owned()]);
        let line = serde_json::to_string(&record).unwrap();
        assert!(line.contains(r#""tls":"intercepted""#), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn a_hello_with_thousands_of_protocols_makes_no_long_line() {
        let mut record = record();
        record.offered(vec!["x".to_owned(); 4000]);
        assert_eq!(record.alpn.unwrap().len(), MOST_OFFERED);
    }

    #[test]
    fn the_name_of_an_outcome_is_how_it_is_written() {
        for outcome in Outcome::ALL {
            let written = serde_json::to_value(outcome).unwrap();
            assert_eq!(written, outcome.name());
        }
    }
}
