//! A handler: counts the requests for each host, adds a field and blocks a path.
//!
//! ```text
//! cargo run --example handler
//! curl -x socks5h://127.0.0.1:15081 http://example.com/
//! ```
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use steer::core::policy::Policy;
use steer::proxy::engine::Engine;
use steer::proxy::handler::{About, Act, Handler, Interest, Refused, Request};

#[path = "shared/socks.rs"]
mod socks;

/// How many requests each host got.
#[derive(Default)]
struct Census(Mutex<HashMap<String, u64>>);

#[async_trait::async_trait]
impl Handler for Census {
    async fn connection(&self, _about: &About) -> Interest {
        Interest::Requests
    }

    async fn request(&self, about: &About, request: &mut Request) -> Act {
        let host = request.authority.clone().unwrap_or_default();
        let count = {
            let mut counts = self.0.lock().expect("nobody panics with it");
            let count = counts.entry(host.clone()).or_default();
            *count += 1;
            *count
        };
        eprintln!(
            "{} asks {host} for {}: request {count}",
            about.client, request.target
        );
        if request.path() == Some("/blocked") {
            return Act::Respond(Refused::plain(403, "this page is not for you"));
        }
        request.fields.set("x-census", count.to_string());
        Act::Continue
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at: SocketAddr = "127.0.0.1:15081".parse()?;
    let engine = Engine::builder(Policy::default())
        .listener(at)
        .handler(Arc::new(Census::default()))
        .build()?;
    engine.serve(Box::new(socks::Port::listen(at).await?)).await;
    Ok(())
}
