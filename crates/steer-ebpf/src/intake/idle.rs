//! The intake of a steering whose connections another proxy takes: nothing comes, and what the engine
//! does beside taking them is done all the same.

use std::io;
use std::os::unix::net::UnixListener;

use async_trait::async_trait;
use steer_core::intake::Intake;
use steer_core::steered::Steered;

use super::chores::Chores;
use super::maps::Maps;

/// Nothing, for as long as the steering is in force.
#[derive(Debug)]
pub(super) struct Idle {
    /// Nobody speaks to it: it stands for the engine's part in the plan.
    _listener: UnixListener,
    _chores: Chores,
}

impl Idle {
    pub(super) fn new(listener: UnixListener, maps: &Maps) -> io::Result<Self> {
        Ok(Self {
            _listener: listener,
            _chores: Chores::without_places(maps)?,
        })
    }
}

#[async_trait]
impl Intake for Idle {
    async fn next(&mut self) -> Option<Steered> {
        std::future::pending().await
    }
}
