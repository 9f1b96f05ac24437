//! An engine that answers each datagram at once.

use std::task::{Context, Poll, Waker};

use steer_core::datagram::{Batch, Datagrams};
use steer_core::steered::{Flow, Refusal, Steered};
use tokio::sync::mpsc;

/// The flows that a run has begun.
pub(crate) struct Engine {
    new_flows: mpsc::Receiver<Steered>,
    flows: Vec<Box<dyn Datagrams>>,
}

impl Engine {
    pub(crate) fn new(new_flows: mpsc::Receiver<Steered>) -> Self {
        Self {
            new_flows,
            flows: Vec::new(),
        }
    }

    /// Sends back what has come; every third flow is refused and ends.
    pub(crate) fn turn(&mut self) {
        while let Ok(steered) = self.new_flows.try_recv() {
            if let Flow::Udp(flow) = steered.flow {
                self.flows.push(flow);
            }
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut number = 0;
        self.flows.retain_mut(|flow| {
            let mut batch = Batch::default();
            let came = flow.poll_receive(&mut context, &mut batch);
            number += 1;
            if !matches!(came, Poll::Ready(Ok(()))) {
                return true;
            }
            if number % 3 == 0 {
                flow.refuse(Refusal::Refused);
                return false;
            }
            flow.send(&batch).is_ok()
        });
    }

    /// Ends all flows.
    pub(crate) fn end(&mut self) {
        self.turn();
        self.flows.clear();
    }
}
