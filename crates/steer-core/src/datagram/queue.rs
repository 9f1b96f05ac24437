//! Datagrams on their way from whoever reads a socket to the flow that they belong to.
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Batch;
use super::budget::{Budget, OVERHEAD, Reservation};

/// A datagram that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unqueued {
    /// The flow does not keep up; the datagram is lost.
    #[error("the flow does not keep up")]
    Full,
    /// The flow is over: the datagram begins another one.
    #[error("the flow is over")]
    Over,
}

/// Datagrams that wait for their flow.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: Batch,
    room: Reservation,
    waker: Option<Waker>,
    over: bool,
}

impl Queue {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Batch::default(),
                room: budget.reserve(),
                waker: None,
                over: false,
            }),
        }
    }

    pub(super) fn push(&self, datagram: &[u8]) -> Result<(), Unqueued> {
        let mut state = self.state();
        if state.over {
            return Err(Unqueued::Over);
        }
        let waits = state.room.taken() + datagram.len() + OVERHEAD;
        if waits > MOST_WAITING || !state.room.take(datagram.len()) {
            return Err(Unqueued::Full);
        }
        state.waiting.push(datagram);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Appends what waits to `batch`.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<()> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            if !state
                .waker
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                state.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        state
            .waiting
            .iter()
            .for_each(|datagram| batch.push(datagram));
        state.empty();
        Poll::Ready(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Ends the flow; what waits is lost.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.over = true;
        state.empty();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn empty(&mut self) {
        self.room.clear();
        if self.waiting.bytes() > KEPT {
            self.waiting = Batch::default();
        } else {
            self.waiting.clear();
        }
    }
}

/// What may wait for one flow: two datagrams of the largest size, or some hundred small ones.
const MOST_WAITING: usize = 160 << 10;

/// Room that an empty queue keeps.
const KEPT: usize = 2 << 10;
