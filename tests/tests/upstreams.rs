//! Upstreams as other people's programs see them: HAProxy and nginx read the PROXY protocol,
//! HAProxy's OpenSSL has TLS before a proxy, and a chain and a failover on a real network.

#[path = "upstreams/chain.rs"]
mod chain;
#[path = "reload/scene.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod scene;
#[path = "upstreams/servers.rs"]
mod servers;
#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;
#[path = "upstreams/told.rs"]
mod told;

/// The client inside the steered program; does nothing in an ordinary run.
#[test]
fn agent() {
    lab::serve_agent();
}
