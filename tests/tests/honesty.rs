//! Whose traffic is steered, by the methods that need no privilege: whatever a command starts, and
//! by whatever means, is held, or else detected and named.

#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

#[path = "honesty/scene.rs"]
mod scene;

#[path = "honesty/containers.rs"]
mod containers;
#[path = "honesty/descent.rs"]
mod descent;
#[path = "honesty/others.rs"]
mod others;
