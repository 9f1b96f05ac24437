//! Datagrams on their way from whoever reads a socket to the flow that they belong to.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Batch;

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

/// Room that several queues share.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    most: usize,
}

/// Datagrams that wait for their flow.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    room: Arc<Room>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    waker: Option<Waker>,
    over: bool,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            most,
        }
    }
}

impl Queue {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            state: Mutex::default(),
            room,
        }
    }

    pub(super) fn push(&self, datagram: &[u8]) -> Result<(), Unqueued> {
        let mut state = self.state();
        if state.over {
            return Err(Unqueued::Over);
        }
        let cost = cost(datagram.len(), 1);
        let waits = cost + self::cost(state.waiting.bytes(), state.waiting.len());
        let taken = self.room.taken.fetch_add(cost, Relaxed) + cost;
        if waits > MOST_WAITING || taken > self.room.most {
            self.room.taken.fetch_sub(cost, Relaxed);
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
        self.empty(&mut state);
        Poll::Ready(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Ends the flow; what waits is lost.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.over = true;
        self.empty(&mut state);
    }

    fn empty(&self, state: &mut State) {
        let bytes = state.waiting.bytes();
        let freed = cost(bytes, state.waiting.len());
        self.room.taken.fetch_sub(freed, Relaxed);
        if bytes > KEPT {
            state.waiting = Batch::default();
        } else {
            state.waiting.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that datagrams cost, those without a byte included.
const fn cost(bytes: usize, datagrams: usize) -> usize {
    bytes + datagrams * 64
}

/// What may wait for one flow: two datagrams of the largest size, or some hundred small ones.
const MOST_WAITING: usize = 160 << 10;

/// Room that an empty queue keeps.
const KEPT: usize = 2 << 10;
