//! `metrics` and `events`: where somebody who looks on is served.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document::Node;
use super::fault::Fault;
use super::listen::Listeners;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// The address to listen on: of loopback, unless it was said that others may look too.
    pub listen: SocketAddr,
}

/// Where events are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The socket that is made, for its user and root.
    pub listen: PathBuf,
}

/// Reads `metrics`.
pub(super) fn read(
    node: &Node,
    listeners: &mut Listeners,
    report: &mut Report<'_>,
) -> Option<Metrics> {
    let section = Section::open(node, "metrics", Keys::new(&["listen", "expose"]), report)?;
    let expose = match section.at("expose") {
        None => Some(false),
        Some(node) => {
            let words = [
                ("yes", true),
                ("no", false),
                ("true", true),
                ("false", false),
            ];
            value::word(node, "metrics.expose", &words, &["yes", "no"], report)
        }
    };
    let node = section.required("listen", "listen: \"127.0.0.1:15020\"", report)?;
    let listen = value::listener(node, "metrics.listen", report)?;
    listeners.bind([listen], "metrics.listen", node, report);
    if !listen.ip().is_loopback() && expose == Some(false) {
        return report.none(&node.span, Fault::Exposed(listen));
    }
    expose.map(|_| Metrics { listen })
}

/// Reads `events`.
pub(super) fn read_events(node: &Node, report: &mut Report<'_>) -> Option<Events> {
    let section = Section::open(node, "events", Keys::new(&["listen"]), report)?;
    let node = section.required("listen", "listen: \"unix:/run/steer/main.events\"", report)?;
    let given = value::text(node, "events.listen", "`unix:/PATH`", report)?;
    let path = given.strip_prefix("unix:").map(Path::new);
    // Room for the byte that ends it in the address (unix(7)).
    let fits = |path: &&Path| path.is_absolute() && path.as_os_str().len() < LONGEST;
    match path.filter(fits) {
        Some(path) => Some(Events {
            listen: path.to_owned(),
        }),
        None => report.none(&node.span, Fault::Socket(given.to_owned())),
    }
}

/// Bytes of a socket's path (`sun_path`, unix(7)).
const LONGEST: usize = 108;

#[cfg(test)]
mod tests {
    use crate::config::{Config, LogFormat, RequestLog};
    use crate::host::Host;

    fn error(text: &str) -> String {
        let error = Config::parse(text, &Host::example()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn metrics_are_for_this_host_unless_they_are_exposed() {
        let parse = |text: &str| Config::parse(text, &Host::example()).unwrap().metrics;
        let local = parse("metrics: { listen: \"127.0.0.1:15020\" }").unwrap();
        assert_eq!(local.listen, "127.0.0.1:15020".parse().unwrap());
        assert!(parse("metrics: { listen: \"[::1]:15020\", expose: no }").is_some());
        let open = "metrics: { listen: \"0.0.0.0:15020\", expose: yes }";
        assert_eq!(parse(open).unwrap().listen.port(), 15020);
        for text in [
            "metrics: { listen: \"0.0.0.0:15020\" }",
            "metrics: { listen: \"192.0.2.1:15020\", expose: no }",
            "metrics: { listen: \"[::]:15020\" }",
        ] {
            let error = error(text);
            assert!(error.contains("expose: yes"), "{error}");
        }
    }

    #[test]
    fn a_port_that_another_key_has_is_refused_with_its_place() {
        let error = error(
            "listen: { explicit: \"127.0.0.1:15020\" }\nmetrics: { listen: \"127.0.0.1:15020\" }",
        );
        assert!(
            error.contains("listen.explicit") && error.contains("line 1"),
            "{error}"
        );
    }

    #[test]
    fn events_are_told_at_a_socket_with_an_absolute_path() {
        let text = "events: { listen: \"unix:/run/steer/main.events\" }";
        let events = Config::parse(text, &Host::example()).unwrap().events;
        assert_eq!(
            events.unwrap().listen.to_str(),
            Some("/run/steer/main.events")
        );
        let long = format!("unix:/{}", "x".repeat(120));
        for listen in [
            "/run/steer/e",
            "unix:relative",
            "127.0.0.1:1",
            long.as_str(),
        ] {
            let error = error(&format!("events: {{ listen: \"{listen}\" }}"));
            assert!(error.contains("unix:/"), "{error}");
        }
        assert!(error("events: {}").contains("listen"));
    }

    #[test]
    fn a_log_says_what_it_tells_and_how() {
        let text = "log: { connections: stdout, requests: none, format: text }";
        let log = Config::parse(text, &Host::example()).unwrap().log;
        assert_eq!(
            (log.requests, log.format),
            (RequestLog::None, LogFormat::Text)
        );
        assert!(error("log: { format: yaml }").contains("`text`"));
    }
}
