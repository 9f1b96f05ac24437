//! What is noted about an exchange, told to its gateway whatever happens.

use std::sync::Arc;

use crate::gateway::{End, Gateway};

/// What is noted about an exchange. Its gateway is told when this is dropped, so that no exchange
/// is forgotten whose task panicked or was aborted.
pub(super) struct Noted<G: Gateway> {
    gateway: Arc<G>,
    exchange: Option<G::Exchange>,
    /// How it ended, as far as is known.
    pub(super) end: End,
}

impl<G: Gateway> Noted<G> {
    /// Begins with what a gateway noted.
    pub(super) fn new(gateway: Arc<G>, exchange: G::Exchange) -> Self {
        let end = End {
            error: Some("the session ended before".to_owned()),
            ..End::default()
        };
        Self {
            gateway,
            exchange: Some(exchange),
            end,
        }
    }

    /// What the gateway noted, and how it ended so far.
    pub(super) fn parts(&mut self) -> (&mut G::Exchange, &mut End) {
        let exchange = self.exchange.as_mut();
        (exchange.expect("it is taken only by drop"), &mut self.end)
    }
}

impl<G: Gateway> Drop for Noted<G> {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.gateway.ended(exchange, &self.end);
        }
    }
}
