//! `metrics`: what the engines have counted, served while the steering is in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use steer::core::config::Config;
use steer::proxy::engine::Engine;
use steer::proxy::metrics::{Levels, Server, Status};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// Binds the address that the config names, if any.
///
/// # Errors
/// It is taken, for instance.
pub(crate) fn bind(config: &Config) -> Result<Option<Server>, Failure> {
    let metrics = config.metrics.as_ref();
    let bound = metrics.map(|metrics| Server::bind(metrics.listen));
    bound
        .transpose()
        .map_err(|error| Failure::new(&error, error.help()))
}

/// Serves what engines that count together have counted, until the tasks are dropped.
pub(crate) fn serve(
    server: Server,
    engines: Vec<Engine>,
    ready: Arc<AtomicBool>,
    tasks: &mut JoinSet<()>,
) {
    let counted = Arc::new(Counted { engines, ready });
    tasks.spawn(async move {
        if let Err(error) = server.serve(counted).await {
            tracing::warn!(%error, "metrics are not served");
        }
    });
}

#[derive(Debug)]
struct Counted {
    engines: Vec<Engine>,
    /// Whether the steering is in force and takes traffic.
    ready: Arc<AtomicBool>,
}

impl Status for Counted {
    fn page(&self) -> String {
        let levels = self.engines.iter().map(Engine::levels);
        let levels = levels.fold(Levels::default(), |sum, of| sum + of);
        match self.engines.first() {
            Some(engine) => engine.metrics().render(&levels),
            None => String::new(),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }
}
