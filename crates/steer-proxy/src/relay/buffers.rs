//! Read buffers, shared by the connections of a thread.
use std::cell::RefCell;

/// A buffer on loan.
pub(super) type Buffer = Box<[u8]>;

/// Bytes read at once while a direction is copied.
pub(super) const SIZE: usize = 64 * 1024;

/// Spare buffers kept by a thread. More exist only while as many receivers are stalled.
const SPARES: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes with unspecified content.
pub(super) fn take() -> Buffer {
    POOL.try_with(|pool| pool.borrow_mut().pop())
        .ok()
        .flatten()
        .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
}

/// Takes a buffer back; one of another size (a prefix) is freed.
pub(super) fn give(buffer: Buffer) {
    if buffer.len() == SIZE {
        // A thread that is ending has no pool: the buffer is freed with it.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SPARES {
                pool.push(buffer);
            }
        });
    }
}
