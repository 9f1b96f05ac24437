//! The record of one request.
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{ConnectionId, NO_UPSTREAM, Outcome, stamp};

/// What happened to one request of an inspected connection. The keys of its JSON form and their
/// values are a contract.
///
/// Query strings, field values and bodies are in no record: secrets travel in them.
///
/// ```
/// use steer_proxy::record::{ConnectionId, RequestRecord};
///
/// let host = Some("user:secret@API.example.com:8443");
/// let record = RequestRecord::new(ConnectionId::next(), "GET", host, Some("/v1?key=secret"));
/// let line = serde_json::to_value(&record).unwrap();
/// assert_eq!(line["kind"], "request");
/// assert_eq!(line["host"], "api.example.com");
/// assert_eq!(line["path"], "/v1");
/// assert!(!line.to_string().contains("secret"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "request")]
pub struct RequestRecord {
    /// When the request ended: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// The connection that it was made in.
    pub connection: ConnectionId,
    /// The method of the request, as it was written.
    pub method: String,
    /// The host that it is for, without a port: what it claims, before any rule changes it.
    pub host: Option<String>,
    /// The path that it asks for, without the query; none for `*` and `CONNECT`.
    pub path: Option<String>,
    /// The status that the client was sent; none where it was sent none.
    pub status: Option<u16>,
    /// The rule that decided; none where no rule matched.
    pub rule: Option<String>,
    /// `direct`, the name of the upstream, or `none` where nothing was asked.
    pub upstream: String,
    /// Bytes of the request's body.
    pub sent: u64,
    /// Bytes of the response's body.
    pub received: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, in words.
    pub error: Option<String>,
}

impl RequestRecord {
    /// The record of a request of which nothing but its head is known.
    ///
    /// `authority` may have a port and a user, of which nothing is kept, and `path` a query.
    pub fn new(
        connection: ConnectionId,
        method: &str,
        authority: Option<&str>,
        path: Option<&str>,
    ) -> Self {
        Self {
            time: String::new(),
            connection,
            method: cut(method, MOST_METHOD),
            host: authority.map(|authority| cut(host(authority), MOST_HOST).to_ascii_lowercase()),
            path: path.map(|path| cut(without_query(path), MOST_PATH)),
            status: None,
            rule: None,
            upstream: NO_UPSTREAM.to_owned(),
            sent: 0,
            received: 0,
            duration_ms: 0,
            outcome: Outcome::Ok,
            error: None,
        }
    }

    /// Stamps the record with the end of the request.
    pub fn end(&mut self, at: OffsetDateTime) {
        self.time = stamp(at);
    }
}

/// Bytes of a method that are told.
const MOST_METHOD: usize = 32;

/// Bytes of a host that are told: as long as a name can be.
const MOST_HOST: usize = 255;

/// Bytes of a path that are told.
const MOST_PATH: usize = 2048;

/// What is told of a text: all, or its beginning with a mark that something is missing.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// The host of an authority, without what is before `@` and the port.
fn host(authority: &str) -> &str {
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        // The colons of an address in brackets are no port's.
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

fn without_query(path: &str) -> &str {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    &path[..end]
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_keys_and_spellings_are_the_contract() {
        let authority = Some("[2001:db8::1]:8080");
        let mut record = RequestRecord::new(ConnectionId(7), "GET", authority, Some("/a/b"));
        record.status = Some(204);
        record.end(datetime!(2026-03-01 01:02:03.450789 UTC));
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(
            line,
            concat!(
                r#"{"kind":"request","time":"2026-03-01T01:02:03.450Z","connection":7,"#,
                r#""method":"GET","host":"[2001:db8::1]","path":"/a/b","status":204,"#,
                r#""rule":null,"upstream":"none","sent":0,"received":0,"duration_ms":0,"#,
                r#""outcome":"ok","error":null}"#
            )
        );
        assert_eq!(
            serde_json::from_str::<RequestRecord>(&line).unwrap(),
            record
        );
    }

    #[test]
    fn nothing_of_a_user_a_port_or_a_query_is_kept() {
        let cases = [
            ("Example.COM", "example.com"),
            ("example.com:80", "example.com"),
            ("u:p@example.com:80", "example.com"),
            ("a@b@example.com", "example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
        ];
        for (authority, host) in cases {
            let path = Some("/x?token=1#f");
            let record = RequestRecord::new(ConnectionId(1), "GET", Some(authority), path);
            assert_eq!(record.host.as_deref(), Some(host));
            assert_eq!(record.path.as_deref(), Some("/x"));
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let path = format!("/{}", "ä".repeat(MOST_PATH));
        let method = "M".repeat(100_000);
        let record = RequestRecord::new(ConnectionId(1), &method, None, Some(&path));
        let told = record.path.unwrap();
        assert!(told.ends_with('…') && told.len() <= MOST_PATH + '…'.len_utf8());
        assert!(record.method.len() <= MOST_METHOD + '…'.len_utf8());
    }
}
