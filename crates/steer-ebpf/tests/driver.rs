//! The driver on the real kernel: cgroups and namespaces that the tests make.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "driver/beside.rs"]
mod beside;
#[path = "driver/cycles.rs"]
mod cycles;
#[path = "driver/errors.rs"]
mod errors;
#[path = "driver/lives.rs"]
mod lives;
#[path = "driver/stage.rs"]
mod stage;
