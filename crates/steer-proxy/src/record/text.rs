//! Records as lines for people. Their shape may change with any release: programs read JSON.
use steer_core::policy::App;

use super::{Outcome, Record, RequestRecord, TlsSeen};

/// The line of a connection.
pub(super) fn connection(record: &Record) -> String {
    let mut line = begin(
        &record.time,
        record.outcome,
        record.method.name(),
        record.upstream.as_str(),
        [record.sent, record.received],
        record.duration_ms,
    );
    let of = |value: u64| value.to_string();
    line.push_str(&clean(&record.client));
    line.push_str(" → ");
    line.push_str(&clean(&record.destination));
    let named = record
        .host
        .as_ref()
        .map(|host| host.as_str())
        .filter(|host| !record.destination.starts_with(host));
    if let Some(host) = named {
        line.push_str(&format!(" ({})", clean(host)));
    }
    let app = app(record.app);
    match record.tls {
        Some(TlsSeen::Intercepted) => line.push_str(&format!(" {app} opened")),
        _ => line.push_str(&format!(" {app}")),
    }
    pair(&mut line, "rule", record.rule.as_deref());
    pair(&mut line, "requests", record.requests.map(of).as_deref());
    let exe = record.exe.as_deref().and_then(|exe| exe.file_name());
    let who = exe.map(|name| name.to_string_lossy());
    pair(&mut line, "by", who.as_deref());
    pair(&mut line, "error", record.error.as_deref());
    line
}

/// The line of a request.
pub(super) fn request(record: &RequestRecord) -> String {
    let mut line = begin(
        &record.time,
        record.outcome,
        record
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string())
            .as_str(),
        record.upstream.as_str(),
        [Some(record.sent), Some(record.received)],
        record.duration_ms,
    );
    line.push_str(&clean(&record.method));
    line.push(' ');
    line.push_str(&clean(record.host.as_deref().unwrap_or("-")));
    line.push_str(&clean(record.path.as_deref().unwrap_or("")));
    pair(&mut line, "rule", record.rule.as_deref());
    pair(
        &mut line,
        "connection",
        Some(&record.connection.to_string()),
    );
    pair(&mut line, "error", record.error.as_deref());
    line
}

/// What both begin with, in columns: when, how, what, by which way, bytes each way, how long.
fn begin(
    time: &str,
    outcome: Outcome,
    what: &str,
    upstream: &str,
    bytes: [Option<u64>; 2],
    duration_ms: u64,
) -> String {
    let mark = match outcome {
        Outcome::Ok => '✓',
        _ => '✗',
    };
    let [sent, received] = bytes.map(amount);
    let took = duration(duration_ms);
    let (outcome, upstream) = (outcome.name(), clean(upstream));
    format!(
        "{time:24} {mark} {outcome:7} {what:8} {upstream:10} ↑{sent:>6} ↓{received:>6} {took:>7}  "
    )
}

fn app(app: App) -> &'static str {
    match app {
        App::Tls => "tls",
        App::Http1 => "http1",
        App::Http2 => "http2",
        App::Quic => "quic",
        App::Dns => "dns",
        App::Opaque => "opaque",
    }
}

fn pair(line: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        line.push_str(&format!(" {key}={}", clean(value)));
    }
}

/// A text that stays one line and moves no cursor, whatever a client has put into it.
fn clean(text: &str) -> String {
    let told = |c: char| if hidden(c) { '\u{fffd}' } else { c };
    text.chars().map(told).collect()
}

/// Whether a character would change how the line is shown instead of being shown.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes in at most six columns.
fn amount(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else {
        return "?".to_owned();
    };
    let mut whole = bytes;
    for unit in ["", "K", "M", "G", "T"] {
        if whole < 10_000 {
            return format!("{whole}{unit}");
        }
        whole /= 1024;
    }
    format!("{whole}P")
}

fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms}ms"),
        10_000..600_000 => format!("{}s", ms / 1000),
        _ => format!("{}min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use steer_core::address::{ClientAddr, Destination};
    use steer_core::method::Method;
    use steer_core::steered::Identity;
    use time::macros::datetime;

    use super::*;
    use crate::record::ConnectionId;

    fn a_connection() -> Record {
        let destination: Destination = "203.0.113.7:443".parse().unwrap();
        let client = ClientAddr("192.0.2.1:40000".parse().unwrap());
        let mut record = Record::new(Method::Redirect, client, &destination, &Identity::default());
        record.end(datetime!(2026-03-01 01:02:03.450 UTC));
        record
    }

    #[test]
    fn a_connection_is_a_line_that_people_can_read() {
        let mut record = a_connection();
        record.host = "example.com".parse().ok();
        record.upstream = "corp".to_owned();
        record.rule = Some("internal".to_owned());
        (record.sent, record.received) = (Some(517), Some(1 << 20));
        record.duration_ms = 12_345;
        assert_eq!(
            connection(&record),
            "2026-03-01T01:02:03.450Z ✓ ok      redirect corp       ↑   517 ↓ 1024K     12s  \
             192.0.2.1:40000 → 203.0.113.7:443 (example.com) opaque rule=internal"
        );
    }

    #[test]
    fn a_request_is_a_line_that_people_can_read() {
        let host = Some("api.example.com");
        let mut record = RequestRecord::new(ConnectionId(3), "POST", host, Some("/v1/x"));
        record.end(datetime!(2026-03-01 01:02:03.450 UTC));
        record.status = Some(502);
        record.outcome = Outcome::Refused;
        record.error = Some("connection refused".to_owned());
        assert_eq!(
            request(&record),
            "2026-03-01T01:02:03.450Z ✗ refused 502      none       ↑     0 ↓     0     0ms  \
             POST api.example.com/v1/x connection=3 error=connection refused"
        );
    }

    #[test]
    fn nothing_that_a_client_says_breaks_the_line() {
        let host = Some("a\u{1b}[2J");
        let record = RequestRecord::new(ConnectionId(3), "G\r\nT", host, Some("/\u{202e}x\n"));
        let line = request(&record);
        assert!(!line.chars().any(hidden), "{line:?}");
    }
}
