//! The engine in a program of one's own, without the command: an intake, a policy, records.
//!
//! ```text
//! cargo run --example embed
//! curl -x socks5h://127.0.0.1:15082 http://example.com/
//! ```
use std::net::SocketAddr;
use std::time::Duration;

use steer::core::config::Config;
use steer::core::host::Host;
use steer::proxy::engine::Engine;
use steer::proxy::record::Recorder;

#[path = "shared/socks.rs"]
mod socks;

/// What the engine does, as in a config file.
const POLICY: &str = "
rules:
  - { name: no-telemetry, match: { host: [\"*.telemetry.example\"] }, action: reject }
  - name: plain
    match: { path: [\"/*\"] }
    http: { request: { set: { x-by: embedded } }, response: { remove: [server] } }
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at: SocketAddr = "127.0.0.1:15082".parse()?;
    let config = Config::parse(POLICY, &Host::example())?;
    let engine = Engine::builder(config.policy)
        .listener(at)
        .recorder(Recorder::to(std::io::stderr())?)
        .build()?;
    let serving = tokio::spawn(
        engine
            .clone()
            .serve(Box::new(socks::Port::listen(at).await?)),
    );
    tokio::signal::ctrl_c().await?;
    // Whoever is connected has ten seconds to come to its end.
    engine.drain(Duration::from_secs(10)).await;
    Ok(serving.await?)
}
