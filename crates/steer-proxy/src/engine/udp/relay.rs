//! Moves the datagrams of one flow.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use steer_core::datagram::{Batch, Datagrams};
use steer_core::policy::App;
use steer_core::steered::Refusal;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::Shared;
use super::super::entry::Entry;
use super::held::Held;
use super::room;
use crate::relay::Traffic;
use crate::sniff::Sniffer;
use crate::upstream::datagrams::Way;

/// How a flow ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nothing moved for the idle time.
    Idle,
    /// The client takes no more.
    ClientGone,
    /// The engine stopped before anything came back.
    Stopped,
    /// The destination, or the proxy before it, gave an error.
    Upstream(io::Error),
}

/// A flow being relayed, as a future of its end.
///
/// What comes is passed on within the same poll, from batches that all flows of a thread share: a
/// flow owns no memory for datagrams, and none is allocated.
pub(super) struct Relay<'a> {
    flow: &'a mut dyn Datagrams,
    way: &'a mut Way,
    traffic: &'a Traffic,
    sniffer: &'a mut Sniffer,
    shared: Arc<Shared>,
    port: u16,
    held: Option<Held>,
    /// When something moved last.
    moved: Instant,
    alarm: Pin<Box<Sleep>>,
    /// Wakes the flow when the engine stops.
    stopping: Pin<Box<OwnedNotified>>,
    waits: bool,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        entry: &'a mut Entry,
        flow: &'a mut dyn Datagrams,
        way: &'a mut Way,
        held: Option<Held>,
    ) -> Self {
        let shared = Arc::clone(&entry.shared);
        let port = entry.destination.port();
        let moved = Instant::now();
        let idle = idle(&shared, port, &entry.sniffer);
        Self {
            flow,
            way,
            traffic: &entry.traffic,
            sniffer: &mut entry.sniffer,
            port,
            held,
            moved,
            alarm: Box::pin(sleep_until(moved + idle)),
            stopping: Box::pin(Arc::clone(&shared.stopping).notified_owned()),
            waits: false,
            shared,
        }
    }

    /// Passes on what came from the client.
    fn upwards(&mut self, batch: &Batch, spare: &mut Batch) -> Option<End> {
        if !self.sniffer.verdict().is_decided() {
            batch.iter().for_each(|datagram| {
                self.sniffer.push(datagram);
            });
        }
        self.traffic.sent_counter().add(batch.bytes());
        let error = self.way.send(batch, spare)?;
        if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) {
            // The path is narrower than the client thinks; what fits still passes.
            self.flow.refuse(Refusal::TooLarge);
            return None;
        }
        Some(End::Upstream(error))
    }

    /// Moves what is there, both ways, until nothing is.
    fn transfer(&mut self, cx: &mut Context<'_>) -> (bool, Option<End>) {
        let mut moved = false;
        let end = room::with(|batch, spare| {
            if let Some(held) = self.held.take()
                && !held.batch().is_empty()
            {
                moved = true;
                if let Some(end) = self.upwards(held.batch(), spare) {
                    return Some(end);
                }
            }
            let (mut sending, mut receiving) = (true, true);
            while sending || receiving {
                if sending {
                    batch.clear();
                    match self.flow.poll_receive(cx, batch) {
                        Poll::Pending => sending = false,
                        Poll::Ready(Err(_)) => return Some(End::ClientGone),
                        Poll::Ready(Ok(())) => {
                            moved = true;
                            if let Some(end) = self.upwards(batch, spare) {
                                return Some(end);
                            }
                        }
                    }
                }
                if receiving {
                    batch.clear();
                    match self.way.poll_receive(cx, batch, spare) {
                        Poll::Pending => receiving = false,
                        Poll::Ready(Err(error)) => return Some(End::Upstream(error)),
                        Poll::Ready(Ok(())) => {
                            moved = true;
                            if self.flow.send(batch).is_err() {
                                return Some(End::ClientGone);
                            }
                            self.traffic.received_counter().add(batch.bytes());
                        }
                    }
                }
            }
            None
        });
        (moved, end)
    }

    /// How long the flow may rest.
    fn patience(&self, stops: bool) -> Duration {
        let idle = idle(&self.shared, self.port, self.sniffer);
        if stops { idle.min(QUIET) } else { idle }
    }
}

impl Future for Relay<'_> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let (moved, end) = self.transfer(cx);
        if let Some(end) = end {
            return Poll::Ready(end);
        }
        if moved {
            self.moved = Instant::now();
        }
        if !self.waits {
            self.waits = true;
            // Once is enough, as the task stays the same; whether it has come to that is asked
            // of the flag.
            let _ = self.stopping.as_mut().poll(cx);
        }
        let stops = self.shared.stops();
        loop {
            let early = stops && self.alarm.deadline() > self.moved + QUIET;
            if !early && self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let due = self.moved + self.patience(stops);
            if due <= Instant::now() {
                let answered = self.traffic.received() > 0;
                return Poll::Ready(if stops && !answered {
                    End::Stopped
                } else {
                    End::Idle
                });
            }
            self.alarm.as_mut().reset(due);
        }
    }
}

fn idle(shared: &Shared, port: u16, sniffer: &Sniffer) -> Duration {
    let limits = shared.limits.udp;
    match sniffer.app() {
        App::Quic => limits.quic,
        App::Dns => limits.dns,
        _ if port == DNS => limits.dns,
        _ => limits.idle,
    }
}

/// The port of DNS.
const DNS: u16 = 53;

/// How long a flow rests before it ends, where the engine stops: UDP has no end to wait for.
const QUIET: Duration = Duration::from_millis(300);
