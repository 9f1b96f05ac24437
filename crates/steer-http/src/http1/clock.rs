//! The deadline of a session: one timer, moved seldom.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is set often and passes seldom. The timer behind it rests at an earlier time
/// where it was set for one, and moves on when it finds the deadline later.
#[derive(Debug)]
pub(super) struct Clock {
    until: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Clock {
    pub(super) fn new(within: Duration) -> Self {
        let until = far(within);
        Self {
            until,
            timer: Box::pin(sleep_until(until)),
        }
    }

    pub(super) fn set(&mut self, within: Duration) {
        self.until = far(within);
        if self.until < self.timer.deadline() {
            self.timer.as_mut().reset(self.until);
        }
    }

    /// Ready when the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= self.until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.until);
        }
    }

    /// Ends when the deadline has passed.
    pub(super) async fn passed(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

/// A deadline, also for a duration beyond what clocks count.
fn far(within: Duration) -> Instant {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    Instant::now() + within.min(year)
}
