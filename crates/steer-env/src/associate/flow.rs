//! One client's datagrams to one target.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use steer_core::datagram::{Batch, Datagrams, SharedFlow};
use steer_core::steered::Refusal;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::header::Target;

/// A flow of an association, which ends with it.
pub(super) struct AssociateFlow {
    flow: SharedFlow<Target>,
    over: Over,
    _live: Live,
    _place: OwnedSemaphorePermit,
}

/// Kept by each flow: nothing is sent, the association waits until all are gone.
pub(super) type Live = mpsc::Sender<Infallible>;

/// Says that the association is over, by closing.
pub(super) type Word = watch::Receiver<()>;

struct Over {
    word: Word,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AssociateFlow {
    pub(super) fn new(
        flow: SharedFlow<Target>,
        word: Word,
        live: Live,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            flow,
            over: Over { word, wait: None },
            _live: live,
            _place: place,
        }
    }
}

impl Over {
    fn is_so(&self) -> bool {
        self.word.has_changed().is_err()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_so() {
            return Poll::Ready(());
        }
        let wait = self.wait.get_or_insert_with(|| {
            let mut word = self.word.clone();
            Box::pin(async move { while word.changed().await.is_ok() {} })
        });
        wait.as_mut().poll(cx)
    }
}

impl Datagrams for AssociateFlow {
    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        if let Poll::Ready(received) = self.flow.poll_receive(cx, batch) {
            return Poll::Ready(received);
        }
        self.over.poll(cx).map(|()| Err(over()))
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        if self.over.is_so() {
            return Err(over());
        }
        self.flow.send(batch)
    }

    fn refuse(&mut self, why: Refusal) {
        self.flow.refuse(why);
    }
}

fn over() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the client has ended its association",
    )
}

impl fmt::Debug for AssociateFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssociateFlow")
            .field("flow", &self.flow)
            .finish_non_exhaustive()
    }
}
