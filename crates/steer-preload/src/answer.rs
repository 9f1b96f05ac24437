//! How a program's connect is answered: with its errno.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use nix::errno::Errno;
use steer_core::steered::{Answer, Flow, Refusal, abort};
use tokio::sync::mpsc;

use crate::call::Call;

/// The answer to a program's connect.
#[derive(Debug)]
pub(crate) struct ConnectAnswer {
    call: Arc<Call>,
    outcome_rx: mpsc::UnboundedReceiver<Errno>,
}

impl ConnectAnswer {
    pub(crate) const fn new(call: Arc<Call>, outcome_rx: mpsc::UnboundedReceiver<Errno>) -> Self {
        Self { call, outcome_rx }
    }
}

#[async_trait]
impl Answer for ConnectAnswer {
    fn dialling(&mut self) -> io::Result<()> {
        self.call.dialling()
    }

    fn gone(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let call = Arc::clone(&self.call);
        Some(Box::pin(async move { call.gone().await }))
    }

    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        *flow = Flow::Tcp(self.call.connected()?);
        Ok(())
    }

    fn can_hand_over(&self) -> bool {
        self.call.can_hand_over()
    }

    async fn hand_over(mut self: Box<Self>, to: &[SocketAddr]) -> io::Result<()> {
        let Self { call, outcome_rx } = &mut *self;
        let mut last = Errno::EHOSTUNREACH;
        for address in to {
            call.own(*address)?;
            // Its end is the program's.
            let outcome = outcome_rx.recv().await.unwrap_or(Errno::ECANCELED);
            match outcome {
                Errno::EINPROGRESS | Errno::EINTR => return Ok(()),
                done if done as i32 == 0 => return Ok(()),
                errno => last = errno,
            }
        }
        call.not_own(last);
        Err(last.into())
    }

    async fn failed(self: Box<Self>, flow: Flow, why: Refusal) {
        self.call.failed(why.errno());
        if let Flow::Tcp(stream) = flow {
            abort(stream);
        }
    }
}

impl Drop for ConnectAnswer {
    /// Nothing of a connect that was answered; one that nobody answers is refused.
    fn drop(&mut self) {
        self.call.failed(Errno::ECONNREFUSED);
    }
}
