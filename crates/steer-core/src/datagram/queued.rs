//! A flow without a socket.
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::flow::Quote;
use super::queue::Queue;
use super::{Batch, Budget, Datagrams, OnRefusal, Stragglers};
use crate::steered::Refusal;

/// How a method sends to the client of a flow that has no socket.
///
/// Called in the engine's task, so it may not block.
pub type OnSend = Box<dyn FnMut(&Batch) -> io::Result<()> + Send>;

/// A flow without a socket: all of its datagrams are handed in, and what goes to the client leaves
/// in the method's own way.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use steer_core::datagram::{Batch, Budget, Datagrams, QueuedDatagrams};
///
/// let (sent_tx, sent) = std::sync::mpsc::channel();
/// let (mut flow, way_in) = QueuedDatagrams::new(&Budget::new(1 << 20), move |batch: &Batch| {
///     sent_tx.send(batch.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
/// });
/// way_in.push(b"question").unwrap();
/// let mut batch = Batch::default();
/// std::future::poll_fn(|cx| flow.poll_receive(cx, &mut batch)).await?;
/// flow.send(&batch)?;
/// assert_eq!(sent.recv(), Ok(1));
/// drop(flow);
/// assert!(way_in.is_over());
/// # Ok(()) }
/// ```
pub struct QueuedDatagrams {
    queue: Arc<Queue>,
    quote: Quote,
    on_send: OnSend,
    on_refusal: Option<OnRefusal>,
}

impl QueuedDatagrams {
    /// A flow, and the way in for its datagrams.
    #[must_use]
    pub fn new(
        budget: &Budget,
        send: impl FnMut(&Batch) -> io::Result<()> + Send + 'static,
    ) -> (Self, Stragglers) {
        let queue = Arc::new(Queue::new(budget));
        let flow = Self {
            queue: Arc::clone(&queue),
            quote: Quote::default(),
            on_send: Box::new(send),
            on_refusal: None,
        };
        (flow, Stragglers(queue))
    }

    /// Sets how the client is told of a refusal; without it, it is not.
    #[must_use]
    pub fn on_refusal(mut self, tell: impl FnMut(Refusal, &[u8]) + Send + 'static) -> Self {
        self.on_refusal = Some(Box::new(tell));
        self
    }
}

impl Datagrams for QueuedDatagrams {
    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        let taken = self.queue.poll_take(cx, batch);
        if taken.is_ready() {
            self.quote.take(batch);
        }
        taken.map(Ok)
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        (self.on_send)(batch)
    }

    fn refuse(&mut self, why: Refusal) {
        if let Some(tell) = &mut self.on_refusal {
            tell(why, &self.quote.0);
        }
    }
}

impl Drop for QueuedDatagrams {
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl fmt::Debug for QueuedDatagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedDatagrams").finish_non_exhaustive()
    }
}
