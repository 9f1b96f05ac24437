//! The configuration read again while it is in force, on a real kernel.

#[path = "reload/config.rs"]
mod config;
#[path = "reload/crash.rs"]
mod crash;
#[path = "reload/load.rs"]
mod load;
#[path = "reload/log.rs"]
mod log;
#[path = "reload/manager.rs"]
mod manager;
#[path = "reload/networks.rs"]
mod networks;
#[path = "reload/rules.rs"]
mod rules;
#[path = "reload/scene.rs"]
mod scene;
#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

/// The client inside the steered program; does nothing in an ordinary run.
#[test]
fn agent() {
    lab::serve_agent();
}
