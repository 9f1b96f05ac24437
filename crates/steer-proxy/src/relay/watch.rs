//! The deadlines of a relayed connection.
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::{End, Expired, Traffic};

/// Deadlines of a relay; `None` waits for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayLimits {
    /// Ends a connection in which nothing has moved either way for this long.
    pub idle: Option<Duration>,
    /// Ends a half-closed connection whose open direction has moved nothing for this long.
    pub half_close: Option<Duration>,
}

/// What the deadlines depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) half_closed: bool,
    pub(super) stalled: bool,
}

/// Looks at the counters now and then instead of a clock at each read: a quiet connection is found
/// within a quarter of its limit after the limit, and a busy one pays a few timers in its life.
#[derive(Debug)]
pub(super) struct Watch {
    limits: RelayLimits,
    half_closed: bool,
    /// The period that the alarm was set to; zero if it is not set.
    armed: Duration,
    quiet: Duration,
    seen: u64,
    /// Made when a deadline is first wanted.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub(super) fn new(limits: RelayLimits) -> Self {
        Self {
            limits,
            half_closed: false,
            armed: Duration::ZERO,
            quiet: Duration::ZERO,
            seen: 0,
            alarm: None,
        }
    }

    /// Ready when a deadline has passed, or `hidden` finds an error on a leg that is not being read.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        phase: Phase,
        traffic: &Traffic,
        hidden: impl Fn() -> Option<End>,
    ) -> Poll<End> {
        if phase.half_closed != self.half_closed {
            self.half_closed = phase.half_closed;
            self.armed = Duration::ZERO;
            self.quiet = Duration::ZERO;
        }
        let limit = self.limit();
        loop {
            let Some(period) = period(limit, phase.stalled) else {
                return Poll::Pending;
            };
            if self.armed.is_zero() || period < self.armed {
                self.armed = period;
                let at = Instant::now() + period;
                match &mut self.alarm {
                    Some(alarm) => alarm.as_mut().reset(at),
                    None => self.alarm = Some(Box::pin(sleep_until(at))),
                }
            }
            ready!(self.alarm.as_mut().expect("set above").as_mut().poll(cx));
            let moved = traffic.sent() + traffic.received();
            if moved == self.seen {
                self.quiet += self.armed;
            } else {
                self.quiet = Duration::ZERO;
                self.seen = moved;
            }
            self.armed = Duration::ZERO;
            if phase.stalled
                && let Some(end) = hidden()
            {
                return Poll::Ready(end);
            }
            if limit.is_some_and(|limit| self.quiet >= limit) {
                let expired = if self.half_closed {
                    Expired::HalfClosed
                } else {
                    Expired::Idle
                };
                return Poll::Ready(End::Timeout(expired));
            }
        }
    }

    fn limit(&self) -> Option<Duration> {
        let RelayLimits { idle, half_close } = self.limits;
        if self.half_closed {
            idle.into_iter().chain(half_close).min()
        } else {
            idle
        }
    }
}

/// How often a stalled connection is checked for a reset by the side that is not being read.
const STALLED: Duration = Duration::from_secs(1);

fn period(limit: Option<Duration>, stalled: bool) -> Option<Duration> {
    let quarter = limit.map(|limit| (limit / 4).max(Duration::from_millis(1)));
    quarter.into_iter().chain(stalled.then_some(STALLED)).min()
}
