//! The path of a plan's devices.

use std::io;
use std::sync::Arc;

use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::steered::Steered;
use tokio::sync::mpsc;

use super::ports::Ports;
use crate::flows::Flows;
use crate::packet::Counters;
use crate::path::{Path, Running};

/// Reads the devices from here on.
pub(super) fn start(
    intent: &Intent,
    method: Method,
    ports: Ports,
    flows: &Arc<Flows>,
    datagrams_tx: mpsc::Sender<Steered>,
) -> io::Result<Running> {
    let path = Path::new(Arc::clone(flows), Arc::new(Counters::default()));
    path.start(ports.lanes(), None)
}
