//! What comes behind a handler of bytes.
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use super::{About, BoxStream, Handler};

/// What comes behind a handler of bytes: the next one, at last the engine.
pub struct Next<'a> {
    about: &'a About,
    rest: &'a [Arc<dyn Handler>],
    last: Last<'a>,
}

/// What the engine does with the stream that the last handler gives.
pub(crate) type Last<'a> = Box<dyn FnOnce(BoxStream) -> Going<'a> + Send + 'a>;

/// A connection on its way, until it has ended.
pub(crate) type Going<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

impl<'a> Next<'a> {
    pub(crate) fn new(about: &'a About, rest: &'a [Arc<dyn Handler>], last: Last<'a>) -> Self {
        Self { about, rest, last }
    }

    /// Hands a stream on and waits until it has ended.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn run(self, client: BoxStream) -> io::Result<()> {
        let Self { about, rest, last } = self;
        match rest.split_first() {
            None => last(client).await,
            Some((handler, rest)) => {
                handler
                    .stream(about, client, Next { about, rest, last })
                    .await
            }
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("handlers", &self.rest.len())
            .finish_non_exhaustive()
    }
}
