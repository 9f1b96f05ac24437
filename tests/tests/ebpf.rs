//! What only hooks of the socket layer can do: programs that run already, and other proxies.

#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

#[path = "ebpf/adoption.rs"]
mod adoption;
#[path = "ebpf/external.rs"]
mod external;
#[path = "ebpf/refusals.rs"]
mod refusals;

/// The client inside a program that is steered; does nothing in an ordinary run.
#[test]
fn agent() {
    lab::serve_agent();
}
