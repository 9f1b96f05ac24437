//! What is too long for a link, in fragments.

use steer_core::address::Family;

use super::super::Transport;
use super::head::{Ends, HOPS, Head, Place};

/// The fragments of a packet with this payload, which begins with the transport's header: each with
/// its headers, none longer than `longest`.
///
/// There are none where no packet can hold the payload, or no link is so narrow.
pub fn fragments(
    ends: Ends,
    transport: Transport,
    id: u32,
    payload: &[u8],
    longest: usize,
) -> impl Iterator<Item = (Head, &[u8])> {
    let room = longest.saturating_sub(HEADERS) & !7;
    let fits = room > 0 && Head::ip(ends, transport, HOPS, None, payload.len()).is_some();
    let payload = if fits { payload } else { &[] };
    let count = payload.len().div_ceil(room.max(8));
    let pieces = payload.chunks(room.max(8)).enumerate();
    pieces.filter_map(move |(index, piece)| {
        let place = Place {
            id,
            offset: index * room,
            more: index + 1 < count,
        };
        let header = match ends.family() {
            Family::V4 => 0,
            Family::V6 => 8,
        };
        let mut head = Head::ip(ends, transport, HOPS, Some(0), piece.len() + header)?;
        head.place(ends.family(), transport, place);
        Some((head, piece))
    })
}

/// The headers of a fragment: of IPv6, the longer ones.
const HEADERS: usize = 48;
