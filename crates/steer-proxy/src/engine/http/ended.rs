//! One request, and its line in the records.
use std::sync::Arc;
use std::time::Instant;

use steer_core::policy::Rule;
use steer_http::{End, Request, Verdict};
use tracing::Span;

use super::super::Shared;
use super::super::account::request_span;
use super::super::course::Course;
use super::super::entry::Route;
use super::desk::Desk;
use super::seen::Seen;
use super::way::Way;
use crate::handler::About;
use crate::record::{Outcome, RequestRecord};

/// One request until it has ended. Dropping it writes the record, however it ended: also when its
/// session is aborted.
#[derive(Debug)]
pub(in crate::engine) struct Exchange {
    pub(super) about: About,
    pub(super) is_connect: bool,
    shared: Arc<Shared>,
    seen: Arc<Seen>,
    record: RequestRecord,
    /// Around all that is said of it.
    span: Span,
    started: Instant,
    way: Option<Arc<Way>>,
    /// The rule that decided, by its place.
    rule: Option<usize>,
    /// Whether it is known why it ended, whatever the session says.
    told: bool,
}

impl Exchange {
    /// A request as the program sent it.
    pub(super) fn new(desk: &Desk, request: &Request) -> Self {
        let Desk {
            shared,
            seen,
            about,
            ..
        } = desk;
        let Request {
            method, authority, ..
        } = request;
        let about = About {
            request: seen.began(),
            ..about.clone()
        };
        let mut record = RequestRecord::new(
            about.connection,
            method,
            authority.as_deref(),
            request.path(),
        );
        // Stands if nobody comes to say otherwise: the task was aborted.
        record.outcome = Outcome::Reset;
        record.error = Some("the engine stopped".to_owned());
        Self {
            about,
            is_connect: false,
            shared: Arc::clone(shared),
            seen: Arc::clone(seen),
            span: request_span(&record),
            record,
            started: Instant::now(),
            way: None,
            rule: None,
            told: false,
        }
    }

    pub(super) fn decided_by(&mut self, course: &Course, rule: &Rule) {
        self.rule = course.rules.0.iter().position(|it| std::ptr::eq(it, rule));
        self.record.rule = Some(rule.name.clone());
        self.seen.notes().rule = Some(rule.name.clone());
    }

    /// The rule that decided.
    pub(super) fn rule<'a>(&self, course: &'a Course) -> Option<&'a Rule> {
        self.rule.map(|index| &course.rules.0[index])
    }

    pub(super) fn sent_to(&mut self, route: Route, course: &Course) {
        self.record.upstream = route.name(course).to_owned();
        self.seen.notes().route = Some(route);
    }

    /// It goes on by a way.
    pub(super) fn goes(&mut self, way: Way) -> Verdict<Arc<Way>> {
        let way = Arc::new(way);
        self.way = Some(Arc::clone(&way));
        Verdict::Forward(way)
    }

    /// It does not end as it should, for a reason that the session does not know.
    pub(super) fn fails(&mut self, outcome: Outcome, why: &str) {
        self.record.outcome = outcome;
        self.record.error = Some(why.to_owned());
        self.told = true;
    }

    /// Writes how it ended.
    pub(super) fn end(mut self, end: &End) {
        let End {
            status,
            sent,
            received,
            error,
            upgraded: _,
        } = end;
        self.record.status = *status;
        self.record.sent = *sent;
        self.record.received = *received;
        if self.told {
            return;
        }
        // Others may go by the same way while no further connection can be made for it.
        let unmade = matches!(status, Some(403 | 502..=504));
        let way = self.way.as_ref().filter(|_| unmade);
        let failed = way.and_then(|way| self.seen.failure(way));
        (self.record.outcome, self.record.error) = match (failed, error) {
            (Some((outcome, why)), _) => (outcome, Some(why)),
            (None, Some(why)) => (unfinished(*status), Some(why.clone())),
            (None, None) => (Outcome::Ok, None),
        };
    }
}

/// How a request ended early of which the client was sent this status, or none.
fn unfinished(status: Option<u16>) -> Outcome {
    match status {
        None => Outcome::Reset,
        Some(408 | 504) => Outcome::Timeout,
        Some(_) => Outcome::Error,
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.shared
            .request_ended(&mut self.record, took, &self.span);
    }
}
