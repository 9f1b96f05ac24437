//! `events`: what happens in the engines, told at a socket while the steering is in force.

use std::sync::Arc;

use steer::core::config::Config;
use steer::proxy::engine::Engine;
use steer::proxy::events::{Counters, Server, Watched};
use steer::proxy::upstream::UpstreamState;
use tokio::task::JoinSet;

use crate::failure::Failure;

/// Makes the socket that the config names, if any.
///
/// # Errors
/// Somebody else serves it, for instance.
pub(crate) fn bind(config: &Config) -> Result<Option<Server>, Failure> {
    let events = config.events.as_ref();
    let bound = events.map(|events| Server::bind(&events.listen));
    bound
        .transpose()
        .map_err(|error| Failure::new(&error, error.help()))
}

/// Tells what happens in engines that tell together, until the tasks are dropped.
pub(crate) fn serve(server: Server, engines: Vec<Engine>, tasks: &mut JoinSet<()>) {
    let Some(events) = engines.first().map(|engine| engine.events().clone()) else {
        return;
    };
    tasks.spawn(async move {
        if let Err(error) = server.serve(events, Arc::new(All(engines))).await {
            tracing::warn!(%error, "events are not told");
        }
    });
}

#[derive(Debug)]
struct All(Vec<Engine>);

impl Watched for All {
    fn counters(&self) -> Counters {
        let counters = self.0.iter().map(Watched::counters);
        counters.fold(Counters::default(), |sum, of| sum + of)
    }

    fn upstreams(&self) -> Vec<UpstreamState> {
        self.0.iter().flat_map(Engine::upstreams).collect()
    }
}
