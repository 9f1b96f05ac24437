//! What both connections are told, and what of them is kept in memory.

use h2::{client, server};

use crate::limits::Limits;

/// What a stream may send before its bytes have gone on.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all streams of a connection may: many stalled streams leave room for the others.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What waits for the socket, a stream: windows say what a peer takes, not what its network takes.
const SEND_BUFFER: usize = 128 * 1024;
/// How many streams are remembered that were reset while frames for them were on the way, and how
/// many may be reset before they were looked at.
const RESETS: usize = 256;

/// How a client is spoken to.
pub(super) fn server(limits: &Limits) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(list_size(limits))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS);
    builder
}

/// How a server is spoken to.
pub(super) fn client(limits: &Limits) -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // A second stream waits for the server's word on how many it takes: those beyond that it
        // would refuse.
        .initial_max_send_streams(1)
        .max_header_list_size(list_size(limits))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESETS)
        // Nothing is pushed to a client that did not ask this session for it.
        .enable_push(false);
    builder
}

/// The size that the codec refuses by itself. Up to it a head comes to us, so that one beyond the
/// limit is answered and recorded; of more than four times of it the codec ends the connection.
fn list_size(limits: &Limits) -> u32 {
    u32::try_from(limits.head.saturating_mul(2)).unwrap_or(u32::MAX)
}
