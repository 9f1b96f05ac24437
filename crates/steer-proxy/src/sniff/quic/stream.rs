//! The stream of handshake bytes, put together from pieces in any order.
use std::ops::Range;

use crate::sniff::WINDOW;

/// The first bytes of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    /// What of them has come, in order, apart from each other.
    here: Vec<Range<usize>>,
    spoilt: bool,
}

impl Stream {
    /// Takes a piece. One that is beyond the window, or that makes too many gaps, spoils the
    /// stream.
    pub(super) fn put(&mut self, at: usize, piece: &[u8]) {
        let Some(end) = at.checked_add(piece.len()).filter(|end| *end <= WINDOW) else {
            self.spoilt = true;
            return;
        };
        if piece.is_empty() {
            return;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(piece);
        let mut merged = at..end;
        self.here.retain(|range| {
            let touches = range.start <= merged.end && merged.start <= range.end;
            if touches {
                merged = merged.start.min(range.start)..merged.end.max(range.end);
            }
            !touches
        });
        let index = self
            .here
            .partition_point(|range| range.start < merged.start);
        self.here.insert(index, merged);
        self.spoilt |= self.here.len() > MOST_PIECES;
    }

    /// The body of the hello, once it is whole.
    pub(super) fn message(&self) -> Option<&[u8]> {
        let ready = self.here.first().filter(|range| range.start == 0)?;
        let [CLIENT_HELLO, a, b, c, body @ ..] = &self.bytes[..ready.end] else {
            return None;
        };
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        body.get(..length)
    }

    /// Whether no hello can come of it.
    pub(super) fn is_spoilt(&self) -> bool {
        let begins_otherwise = self
            .here
            .first()
            .is_some_and(|range| range.start == 0 && self.bytes[0] != CLIENT_HELLO);
        self.spoilt || begins_otherwise
    }
}

const CLIENT_HELLO: u8 = 1;

/// How many pieces may be apart from each other.
const MOST_PIECES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_make_the_message_in_any_order(
            cuts in prop::collection::btree_set(1..500usize, 0..40),
            order in any::<u64>(),
        ) {
            let body: Vec<u8> = (0..496_u32).map(|n| (n % 251) as u8).collect();
            let bytes = [&[1, 0, 1, 0xf0][..], &body].concat();
            let ends: Vec<usize> = cuts.into_iter().chain([bytes.len()]).collect();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let mut pieces: Vec<_> = starts.zip(&ends).map(|(a, b)| a..*b).collect();
            pieces.sort_by_key(|piece| (piece.start as u64 + 1).wrapping_mul(order | 1));
            let mut stream = Stream::default();
            let last = pieces.pop().unwrap();
            for piece in pieces {
                stream.put(piece.start, &bytes[piece.clone()]);
                stream.put(piece.start, &bytes[piece.clone()]);
            }
            prop_assert_eq!(stream.message(), None);
            stream.put(last.start, &bytes[last.clone()]);
            prop_assert_eq!(stream.message(), Some(&body[..]));
            prop_assert!(!stream.is_spoilt());
            prop_assert_eq!(stream.here.len(), 1);
        }
    }

    #[test]
    fn what_is_too_far_or_too_scattered_is_given_up() {
        let mut far = Stream::default();
        far.put(usize::MAX, b"x");
        assert!(far.is_spoilt() && far.bytes.is_empty());
        let mut scattered = Stream::default();
        for at in 0..WINDOW / 2 {
            scattered.put(at * 2 + 1, b"x");
            if scattered.is_spoilt() {
                break;
            }
        }
        assert_eq!(scattered.here.len(), MOST_PIECES + 1);
        let mut other = Stream::default();
        other.put(0, &[2]);
        assert!(other.is_spoilt());
    }
}
