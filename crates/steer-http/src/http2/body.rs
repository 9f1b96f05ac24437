//! A body with its trailers, from one stream to the other.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::fault::{Cause, Fault};

/// Whose fault it is where the one or the other stream ends early.
pub(super) struct Sides {
    from: fn(Cause) -> Fault,
    to: fn(Cause) -> Fault,
}

/// A request's.
pub(super) const UP: Sides = Sides {
    from: Fault::Client,
    to: Fault::Server,
};

/// A response's.
pub(super) const DOWN: Sides = Sides {
    from: Fault::Server,
    to: Fault::Client,
};

/// Passes a body on as it comes. Its bytes are given back to the sender's window when the receiver's
/// had room for them; `moved` counts what came, `bytes` the bytes that went on.
pub(super) async fn pump(
    from: &mut RecvStream,
    to: &mut SendStream<Bytes>,
    sides: &Sides,
    bytes: &mut u64,
    moved: &AtomicU64,
) -> Result<(), Fault> {
    loop {
        let next = poll_fn(|cx| match to.poll_reset(cx) {
            Poll::Ready(reset) => Poll::Ready(Err(reset.map_or_else(Cause::from, Cause::Reset))),
            Poll::Pending => from.poll_data(cx).map(Ok),
        });
        let next = next.await.map_err(sides.to)?;
        moved.fetch_add(1, Ordering::Relaxed);
        match next {
            Some(Err(error)) => return Err((sides.from)(error.into())),
            Some(Ok(chunk)) => {
                let length = chunk.len();
                let last = from.is_end_stream();
                // An empty frame that ends nothing says nothing.
                if length > 0 || last {
                    send(to, chunk, last, moved).await.map_err(sides.to)?;
                }
                *bytes += length as u64;
                if last {
                    return Ok(());
                }
                // Refused where the stream has ended meanwhile, which the next turn tells.
                let _ = from.flow_control().release_capacity(length);
            }
            None => {
                let trailers = from.trailers().await;
                let trailers = trailers.map_err(|error| (sides.from)(error.into()))?;
                let sent = match trailers {
                    Some(trailers) => to.send_trailers(trailers),
                    None => to.send_data(Bytes::new(), true),
                };
                return match sent {
                    Ok(()) => Ok(()),
                    Err(_) => Err((sides.to)(gone(to).await)),
                };
            }
        }
    }
}

/// Sends bytes as far as windows open, and the end of the stream with the last of them.
pub(super) async fn send(
    to: &mut SendStream<Bytes>,
    mut chunk: Bytes,
    last: bool,
    moved: &AtomicU64,
) -> Result<(), Cause> {
    loop {
        let wanted = chunk.len();
        let mut room = wanted;
        if wanted > 0 {
            to.reserve_capacity(wanted);
            room = to.capacity();
            if room == 0 {
                room = match poll_fn(|cx| to.poll_capacity(cx)).await {
                    Some(Ok(room)) => room,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(gone(to).await),
                };
                moved.fetch_add(1, Ordering::Relaxed);
            }
        }
        let piece = chunk.split_to(room.min(wanted));
        let done = chunk.is_empty();
        if to.send_data(piece, last && done).is_err() {
            return Err(gone(to).await);
        }
        if done {
            return Ok(());
        }
    }
}

/// Why nothing more can be sent.
async fn gone(to: &mut SendStream<Bytes>) -> Cause {
    poll_fn(|cx| {
        Poll::Ready(match to.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => Cause::Reset(reason),
            Poll::Ready(Err(error)) => Cause::from(error),
            Poll::Pending => Cause::Reset(Reason::CANCEL),
        })
    })
    .await
}
