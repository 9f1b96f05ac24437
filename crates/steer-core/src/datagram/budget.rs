//! Memory that waiting datagrams of several flows share.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Memory that waiting datagrams of several flows share.
///
/// Cheap to clone; every clone takes from the same memory.
///
/// ```
/// use steer_core::datagram::Budget;
///
/// let budget = Budget::new(1000);
/// let mut reservation = budget.reserve();
/// assert!(reservation.take(400));
/// assert!(!reservation.take(600), "a datagram costs more than its bytes");
/// drop(reservation);
/// assert_eq!(budget.taken(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Room>);

#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    most: usize,
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    taken: usize,
}

impl Budget {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Room {
            taken: AtomicUsize::new(0),
            most: bytes,
        }))
    }

    /// Nothing yet, to take from the budget.
    #[must_use]
    pub fn reserve(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            taken: 0,
        }
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// Takes bytes, unless there are not that many left.
    fn take(&self, bytes: usize) -> bool {
        let fits = self.0.taken.fetch_add(bytes, Relaxed) + bytes <= self.0.most;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.0.taken.fetch_sub(bytes, Relaxed);
    }
}

impl Reservation {
    /// Takes the memory that a datagram of so many bytes costs, unless there is too little left.
    pub fn take(&mut self, bytes: usize) -> bool {
        let cost = bytes + OVERHEAD;
        let fits = self.budget.take(cost);
        if fits {
            self.taken += cost;
        }
        fits
    }

    /// The bytes that it has taken.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.budget.give(std::mem::take(&mut self.taken));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a datagram costs beside its bytes, so that those without any are no free ride.
pub(super) const OVERHEAD: usize = 64;
