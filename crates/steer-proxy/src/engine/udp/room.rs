//! Room for datagrams that are passed on.
use std::cell::RefCell;

use steer_core::datagram::Batch;

thread_local! {
    /// A batch lives no longer than one poll, so all flows of a thread share two.
    static ROOM: RefCell<(Batch, Batch)> = RefCell::default();
}

/// Gives two empty batches for the time of a call.
pub(in crate::engine) fn with<T>(work: impl FnOnce(&mut Batch, &mut Batch) -> T) -> T {
    ROOM.with_borrow_mut(|(batch, spare)| {
        batch.clear();
        spare.clear();
        work(batch, spare)
    })
}
