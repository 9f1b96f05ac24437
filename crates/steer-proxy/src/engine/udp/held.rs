//! What a client sent before its way was open.
use steer_core::datagram::{Batch, Budget, Reservation};

/// Datagrams that wait for their way to be decided and opened.
///
/// A proxy that does not answer keeps a flow waiting for as long as a dial may take, so a flow may
/// hold little, and all of them together no more than their budget: what is beyond is lost.
#[derive(Debug)]
pub(in crate::engine) struct Held {
    batch: Batch,
    room: Reservation,
}

impl Held {
    pub(in crate::engine) fn new(budget: &Budget) -> Self {
        Self {
            batch: Batch::default(),
            room: budget.reserve(),
        }
    }

    /// Takes a datagram, if there is room. The first one may have any size: a program that asks
    /// with a large one asks once.
    pub(in crate::engine) fn push(&mut self, datagram: &[u8]) {
        let fits = self.batch.is_empty()
            || self.batch.len() < MOST_DATAGRAMS
                && self.batch.bytes() + datagram.len() <= MOST_BYTES;
        if fits && self.room.take(datagram.len()) {
            self.batch.push(datagram);
        }
    }

    /// The datagrams.
    pub(in crate::engine) fn batch(&self) -> &Batch {
        &self.batch
    }
}

/// Bytes that a flow may hold: as much as the largest burst that one call can send.
const MOST_BYTES: usize = 64 << 10;

/// Datagrams that a flow may hold.
const MOST_DATAGRAMS: usize = 64;

/// Bytes that all flows together may hold.
pub(in crate::engine) const HELD: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_holds_its_beginning_and_drops_the_rest() {
        let budget = Budget::new(HELD);
        let mut held = Held::new(&budget);
        for _ in 0..60 {
            held.push(&[0; 1400]);
        }
        assert_eq!((held.batch().len(), held.batch().bytes()), (46, 64_400));
        let mut large = Held::new(&budget);
        large.push(&[0; 65_507]);
        large.push(&[0; 100]);
        assert_eq!(large.batch().len(), 1);
        let mut small = Held::new(&budget);
        for _ in 0..100_000 {
            small.push(&[]);
        }
        assert_eq!(small.batch().len(), MOST_DATAGRAMS);
    }

    #[test]
    fn all_flows_together_hold_what_the_budget_allows() {
        let budget = Budget::new(1 << 20);
        let flows: Vec<_> = (0..1000)
            .map(|_| {
                let mut held = Held::new(&budget);
                held.push(&[0; 65_507]);
                held
            })
            .collect();
        let bytes: usize = flows.iter().map(|held| held.batch().bytes()).sum();
        assert!((900_000..=1 << 20).contains(&bytes), "{bytes}");
        drop(flows);
        assert_eq!(budget.taken(), 0);
    }
}
