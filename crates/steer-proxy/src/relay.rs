//! The relay: moves the bytes of one connection between its two legs.
//!
//! Each direction is a way that ends by itself (half-close); a break on either leg breaks
//! both. Neither direction owns memory or descriptors unless bytes are waiting in it, so an idle
//! connection costs its two sockets and this future.
mod buffers;
mod leg;
mod pipes;
mod traffic;
mod watch;
mod way;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::sniff::Sniffer;

pub use leg::Leg;
pub use traffic::Traffic;
pub use watch::RelayLimits;

use watch::{Phase, Watch};
use way::{Break, Way};

/// One of the two ends of a relayed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The steered program.
    Client,
    /// The destination, or the proxy before it.
    Upstream,
}

/// Which deadline ended a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Nothing moved in either direction.
    Idle,
    /// One side had ended, and the other sent nothing more.
    HalfClosed,
}

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both sides ended their stream and every byte was delivered.
    Closed,
    /// One side reset the connection; so was the other.
    Reset {
        /// Who did.
        by: Side,
    },
    /// A deadline passed; both sides were reset.
    Timeout(Expired),
    /// The kernel reported another error on one side; both sides were reset.
    Failed {
        /// On which leg.
        side: Side,
        /// What it said.
        error: io::Error,
    },
}

/// A connection being relayed, as a future of its end.
///
/// Dropping it before the end resets both legs: a client never takes an abort for the end of the
/// data.
///
/// ```no_run
/// # async fn example(client: tokio::net::TcpStream, upstream: tokio::net::TcpStream) {
/// use steer_proxy::relay::{Relay, Traffic};
///
/// let traffic = Traffic::default();
/// let end = Relay::new(client, upstream, &traffic).await;
/// println!("{end:?}: {} bytes sent", traffic.sent());
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing moves unless it is awaited"]
pub struct Relay<'a, C: Leg, U: Leg> {
    pair: Pair<C, U>,
    watch: Watch,
    traffic: &'a Traffic,
    tap: Option<&'a mut Sniffer>,
}

impl<'a, C: Leg, U: Leg> Relay<'a, C, U> {
    /// A relay between two connected legs that counts into `traffic`.
    pub fn new(client: C, upstream: U, traffic: &'a Traffic) -> Self {
        let pair = Pair {
            client,
            upstream,
            sending: Way::default(),
            receiving: Way::default(),
            orderly: false,
        };
        Self {
            pair,
            watch: Watch::new(RelayLimits::default()),
            traffic,
            tap: None,
        }
    }

    /// Sets the deadlines.
    pub fn limits(mut self, limits: RelayLimits) -> Self {
        self.watch = Watch::new(limits);
        self
    }

    /// Bytes already read from the client, delivered to the upstream before all others.
    pub fn client_prefix(mut self, bytes: Vec<u8>) -> Self {
        self.pair.sending = Way::starting_with(bytes);
        self
    }

    /// Bytes already read from the upstream, delivered to the client before all others.
    pub fn upstream_prefix(mut self, bytes: Vec<u8>) -> Self {
        self.pair.receiving = Way::starting_with(bytes);
        self
    }

    /// Shows the client's first bytes to `sniffer` as they pass, which delays nothing.
    pub fn tap(mut self, sniffer: &'a mut Sniffer) -> Self {
        self.tap = Some(sniffer);
        self
    }
}

/// Moves bytes until both directions have ended, or something breaks.
impl<C: Leg, U: Leg> Future for Relay<'_, C, U> {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let Self {
            pair,
            watch,
            traffic,
            tap,
        } = self.get_mut();
        match pair.poll(cx, traffic, tap) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => watch.poll(cx, pair.phase(), traffic, || pair.hidden_error()),
        }
    }
}

/// The two legs and the two ways between them.
#[derive(Debug)]
struct Pair<C: Leg, U: Leg> {
    client: C,
    upstream: U,
    sending: Way,
    receiving: Way,
    orderly: bool,
}

impl<C: Leg, U: Leg> Pair<C, U> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        traffic: &Traffic,
        tap: &mut Option<&mut Sniffer>,
    ) -> Poll<End> {
        let Self {
            client,
            upstream,
            sending,
            receiving,
            orderly,
        } = self;
        let last = receiving.ended();
        let sent = sending.poll(cx, client, upstream, traffic.sent_counter(), tap, last);
        if let Poll::Ready(Err(broken)) = sent {
            return Poll::Ready(broken.on(Side::Client, Side::Upstream));
        }
        let last = sending.ended();
        let received = receiving.poll(
            cx,
            upstream,
            client,
            traffic.received_counter(),
            &mut None,
            last,
        );
        if let Poll::Ready(Err(broken)) = received {
            return Poll::Ready(broken.on(Side::Upstream, Side::Client));
        }
        *orderly = sent.is_ready() && received.is_ready();
        if *orderly {
            Poll::Ready(End::Closed)
        } else {
            Poll::Pending
        }
    }

    fn phase(&self) -> Phase {
        Phase {
            half_closed: self.sending.ended() != self.receiving.ended(),
            stalled: self.sending.is_stalled() || self.receiving.is_stalled(),
        }
    }

    /// A reset of a side that is not being read because the other side takes no more.
    fn hidden_error(&self) -> Option<End> {
        let client = || {
            self.sending
                .is_stalled()
                .then(|| self.client.pending_error())
                .flatten()
        };
        let upstream = || {
            self.receiving
                .is_stalled()
                .then(|| self.upstream.pending_error())
                .flatten()
        };
        let at = |side| move |error| Break::Source(error).on(side, side);
        client()
            .map(at(Side::Client))
            .or_else(|| upstream().map(at(Side::Upstream)))
    }
}

impl<C: Leg, U: Leg> Drop for Pair<C, U> {
    fn drop(&mut self) {
        if self.orderly {
            self.client.close_in_order();
            self.upstream.close_in_order();
        } else {
            self.client.reset_on_close();
            self.upstream.reset_on_close();
        }
    }
}

impl Break {
    /// The end that this break means for a way between two sides.
    fn on(self, source: Side, sink: Side) -> End {
        let (side, error) = match self {
            Self::Source(error) => (source, error),
            Self::Sink(error) => (sink, error),
        };
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => End::Reset { by: side },
            _ => End::Failed { side, error },
        }
    }
}
