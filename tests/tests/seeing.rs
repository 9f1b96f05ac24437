//! What those who look on see: metrics, events and records for people, on a real kernel.

#[path = "seeing/events.rs"]
mod events;
#[path = "seeing/metrics.rs"]
mod metrics;
#[path = "seeing/records.rs"]
mod records;
#[path = "reload/scene.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod scene;
#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

/// The client inside the steered program; does nothing in an ordinary run.
#[test]
fn agent() {
    lab::serve_agent();
}
