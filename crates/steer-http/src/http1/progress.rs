//! What an exchange has come to, seen from both of its directions and by its clock.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use crate::gateway::{End, Gateway};

/// What an exchange has come to. Both directions are of one task; atomics make it shareable, not
/// concurrent.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Steps forward, whichever; what the clock looks at.
    moved: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// The request's body has gone whole.
    pub(super) body_gone: Flag,
    /// Bytes of the request's body were read.
    pub(super) body_begun: Flag,
    /// The client is waited for, within its body.
    pub(super) awaits_client: Flag,
    /// The response is being written to the client, who may not take it.
    pub(super) stuck: Flag,
    /// The server has sent something.
    pub(super) heard: Flag,
    /// The head of the last response is being written to the client.
    pub(super) answered: Flag,
    status: AtomicU16,
}

/// Something that came to be true, or not.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }

    pub(super) fn is(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Progress {
    pub(super) fn step(&self) {
        self.moved.fetch_add(1, Relaxed);
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    pub(super) fn sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Relaxed);
        self.step();
    }

    pub(super) fn received(&self, count: usize) {
        self.received.fetch_add(count as u64, Relaxed);
        self.step();
    }

    pub(super) fn status(&self, status: u16) {
        self.status.store(status, Relaxed);
    }

    fn end(&self, error: Option<String>, upgraded: bool) -> End {
        let status = self.status.load(Relaxed);
        End {
            status: (status != 0).then_some(status),
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            error,
            upgraded,
        }
    }
}

/// An exchange whose end will be told, also where its session is dropped within it.
pub(super) struct Open<'g, G: Gateway> {
    gateway: &'g G,
    exchange: Option<G::Exchange>,
    progress: Progress,
    upgraded: bool,
    error: Option<String>,
}

impl<'g, G: Gateway> Open<'g, G> {
    pub(super) fn new(gateway: &'g G, exchange: G::Exchange) -> Self {
        Self {
            gateway,
            exchange: Some(exchange),
            progress: Progress::default(),
            upgraded: false,
            error: Some("the session was given up".to_owned()),
        }
    }

    pub(super) fn parts(&mut self) -> (&mut G::Exchange, &Progress) {
        let exchange = self.exchange.as_mut();
        (exchange.expect("there until the drop"), &self.progress)
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn upgraded(&mut self) {
        self.upgraded = true;
    }

    /// It ended as it should.
    pub(super) fn done(mut self) {
        self.error = None;
    }

    /// It ended early.
    pub(super) fn failed(mut self, error: &dyn std::error::Error) {
        self.error = Some(words(error));
    }
}

impl<G: Gateway> Drop for Open<'_, G> {
    fn drop(&mut self) {
        let end = self.progress.end(self.error.take(), self.upgraded);
        let exchange = self.exchange.take().expect("dropped once");
        self.gateway.ended(exchange, &end);
    }
}

/// An error and what it stems from, in words.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
