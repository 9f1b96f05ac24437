//! The families of metrics: their names and labels are a contract, and `docs/metrics.md` lists them.

/// One family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// What the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Counts by bounds.
    Histogram,
}

impl Kind {
    /// The word for Prometheus.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

pub(super) const BUILD_INFO: Family = Family {
    name: "steer_build_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "Always 1; tells the version.",
};

pub(super) const CONNECTIONS: Family = Family {
    name: "steer_connections_total",
    kind: Kind::Counter,
    labels: &["method", "protocol", "upstream", "outcome"],
    help: "Connections and flows of datagrams that have ended.",
};

pub(super) const LIVE: Family = Family {
    name: "steer_connections_live",
    kind: Kind::Gauge,
    labels: &["protocol"],
    help: "Connections and flows of datagrams that live.",
};

pub(super) const BYTES: Family = Family {
    name: "steer_bytes_total",
    kind: Kind::Counter,
    labels: &["direction"],
    help: "Bytes that programs sent and received, counted when a connection ends.",
};

pub(super) const CONNECT_SECONDS: Family = Family {
    name: "steer_connect_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "How long it took to open the way of a connection, through all proxies.",
};

pub(super) const REQUESTS: Family = Family {
    name: "steer_requests_total",
    kind: Kind::Counter,
    labels: &["code_class", "upstream", "rule"],
    help: "Requests of inspected connections that have ended.",
};

pub(super) const REQUEST_SECONDS: Family = Family {
    name: "steer_request_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "How long requests took, from their head to the last byte of the response.",
};

pub(super) const UPSTREAM_LIVE: Family = Family {
    name: "steer_upstream_connections_live",
    kind: Kind::Gauge,
    labels: &["upstream"],
    help: "Connections that an upstream carries.",
};

pub(super) const UPSTREAM_REFUSED: Family = Family {
    name: "steer_upstream_refused_total",
    kind: Kind::Counter,
    labels: &["upstream"],
    help: "Connections that were refused because an upstream had as many as it may have.",
};

pub(super) const UPSTREAM_FAILURES: Family = Family {
    name: "steer_upstream_failures_total",
    kind: Kind::Counter,
    labels: &["upstream", "endpoint"],
    help: "Checks and connections that failed at an address of an upstream.",
};

pub(super) const UPSTREAM_UP: Family = Family {
    name: "steer_upstream_up",
    kind: Kind::Gauge,
    labels: &["upstream", "endpoint"],
    help: "Whether connections are sent to an address of an upstream.",
};

pub(super) const REFUSED: Family = Family {
    name: "steer_refused_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Connections and flows that the engine would not take.",
};

pub(super) const RECORDS_LOST: Family = Family {
    name: "steer_records_lost_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Records that could not be written.",
};

pub(super) const RELOADS: Family = Family {
    name: "steer_reloads_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Configurations that were read again.",
};

/// Every family, in the order of the page.
pub const FAMILIES: [Family; 14] = [
    BUILD_INFO,
    CONNECTIONS,
    LIVE,
    BYTES,
    CONNECT_SECONDS,
    REQUESTS,
    REQUEST_SECONDS,
    UPSTREAM_LIVE,
    UPSTREAM_REFUSED,
    UPSTREAM_UP,
    UPSTREAM_FAILURES,
    REFUSED,
    RECORDS_LOST,
    RELOADS,
];
