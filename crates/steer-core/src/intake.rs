//! Where steered connections come out of a method.

use std::fmt;

use async_trait::async_trait;

use crate::object::Listener;
use crate::steered::Steered;

/// What the engine consumes, whichever method delivers.
#[async_trait]
pub trait Intake: fmt::Debug + Send {
    /// The next connection; `None` when there will be no more.
    ///
    /// One connection's failure is not the intake's: it is counted, logged and passed over.
    /// Cancel safe.
    async fn next(&mut self) -> Option<Steered>;
}

/// A listener of a plan with its sockets, one an address.
#[derive(Debug)]
pub struct Bound {
    /// What was asked for, its port filled in.
    pub listener: Listener,
    /// Listening, nonblocking, close-on-exec sockets in the order of the addresses.
    pub sockets: Vec<std::net::TcpListener>,
}
