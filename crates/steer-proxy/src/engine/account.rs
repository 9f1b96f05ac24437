//! What is told of connections and requests: in records, metrics, events and the log of events.
use std::sync::Arc;
use std::time::Duration;

use steer_core::steered::{Refusal, Steered};
use time::OffsetDateTime;
use tracing::{Level, Span};

use super::opening::Failure;
use super::{Engine, Shared};
use crate::error::UpstreamError;
use crate::events::{Counters, Event, Events, Watched};
use crate::metrics::{Ended, Levels, Metrics, Reason};
use crate::record::{ConnectionId, Record, RequestRecord};
use crate::upstream::UpstreamState;

/// The span of all that is said of a request; that of its connection is around it where it is
/// entered.
pub(super) fn request_span(record: &RequestRecord) -> Span {
    let RequestRecord {
        method, host, path, ..
    } = record;
    tracing::info_span!("request", %method, host, path)
}

impl Shared {
    /// A connection has come; gives the span of all that is said of it.
    pub(super) fn connection_begun(&self, id: ConnectionId, steered: &Steered) -> Span {
        self.metrics.began(steered.flow.protocol());
        if self.events.is_watched() {
            self.events.tell(&Event::begun(id, steered));
        }
        let Steered {
            via,
            client,
            destination,
            ..
        } = steered;
        tracing::info_span!("connection", %id, method = %via, %client, %destination)
    }

    /// Whether anybody is told of single connections, so that a record is worth making.
    pub(super) fn tells_connections(&self) -> bool {
        !self.recorder().is_none() || self.events.is_watched() || tracing::enabled!(Level::INFO)
    }

    /// A connection has ended.
    pub(super) fn connection_ended(&self, record: &Record, span: &Span) {
        self.events.tell(&Event::ConnectionEnd(record));
        span.in_scope(|| {
            tracing::info!(
                outcome = record.outcome.name(),
                upstream = record.upstream,
                rule = record.rule,
                host = record.host.as_ref().map(tracing::field::display),
                sent = record.sent,
                received = record.received,
                duration_ms = record.duration_ms,
                error = record.error,
                "a connection has ended"
            );
        });
        self.recorder().write(record);
    }

    /// A connection was not taken, or no way was found for it.
    pub(super) fn connection_failed(&self, failure: &Failure) {
        let why = match failure {
            Failure::Denied => Reason::Rule,
            Failure::Stranger => Reason::Stranger,
            Failure::Dead => Reason::Address,
            Failure::OwnDial | Failure::Upstream(UpstreamError::Loop(_)) => Reason::Loop,
            Failure::Refused(Refusal::Busy) => Reason::Full,
            _ => return,
        };
        self.metrics.refused(why);
    }

    /// Whether anybody is told of single requests beside the metrics.
    fn tells_requests(&self) -> bool {
        !self.recorder().is_without_requests()
            || self.events.is_watched()
            || tracing::enabled!(Level::INFO)
    }

    /// A request has ended, so long after its head had come.
    pub(super) fn request_ended(&self, record: &mut RequestRecord, took: Duration, span: &Span) {
        let (rule, upstream) = (record.rule.as_deref(), record.upstream.as_str());
        self.metrics.request(record.status, rule, upstream, took);
        if !self.tells_requests() {
            return;
        }
        record.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        record.end(OffsetDateTime::now_utc());
        self.events.tell(&Event::RequestEnd(record));
        span.in_scope(|| {
            tracing::info!(
                status = record.status,
                outcome = record.outcome.name(),
                upstream = record.upstream,
                rule = record.rule,
                sent = record.sent,
                received = record.received,
                duration_ms = record.duration_ms,
                error = record.error,
                "a request has ended"
            );
        });
        self.recorder().write_request(record);
    }

    /// Counts a connection that has ended.
    pub(super) fn count(&self, ended: &Ended<'_>) {
        self.metrics.ended(ended);
    }
}

impl Engine {
    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Where it is told what happens.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// What is asked for when somebody looks at the metrics.
    pub fn levels(&self) -> Levels {
        Levels {
            lost_records: self.lost_records(),
            refused_flows: self.refused_flows(),
            upstreams: self.upstreams(),
        }
    }
}

impl Watched for Engine {
    fn counters(&self) -> Counters {
        Counters {
            live: self.live(),
            accepted: self.accepted(),
            refused_flows: self.refused_flows(),
            lost_records: self.lost_records(),
        }
    }

    fn upstreams(&self) -> Vec<UpstreamState> {
        Self::upstreams(self)
    }
}
