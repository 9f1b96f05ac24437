//! Start, stop and death of `steer`, on a real kernel and before an outside witness.

#[path = "lifecycle/clean.rs"]
mod clean;
#[path = "lifecycle/command.rs"]
mod command;
#[path = "lifecycle/crash.rs"]
mod crash;
#[path = "lifecycle/datagrams.rs"]
mod datagrams;
#[path = "lifecycle/device.rs"]
mod device;
#[path = "lifecycle/elsewhere.rs"]
mod elsewhere;
#[path = "lifecycle/forgotten.rs"]
mod forgotten;
#[path = "lifecycle/gateway.rs"]
mod gateway;
#[path = "lifecycle/host.rs"]
mod host;
#[path = "lifecycle/leftover.rs"]
mod leftover;
#[path = "lifecycle/outlive.rs"]
mod outlive;
#[path = "lifecycle/scene.rs"]
mod scene;
#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;
#[path = "lifecycle/stop.rs"]
mod stop;
#[path = "lifecycle/terminal.rs"]
mod terminal;

#[path = "lifecycle/two.rs"]
mod two;

/// The client inside the steered program; does nothing in an ordinary run.
#[test]
fn agent() {
    lab::serve_agent();
}
