//! The method `preload`: a library in the command's processes stands before the socket calls.
//!
//! ```text
//! Intent, Host ─> preload ─> Plan: control listener, LD_PRELOAD, STEER_PRELOAD
//!                              │
//! shim/ ─ build.rs ─> library (unpacked) ─ loader ─> program: connect, …
//!                                                       │ question + socket
//!                  control listener ─> intake ─> call ──┴─> scope ─┬─> left alone
//!                                                                  └─> Steered + answer
//!                                                  names ─> an address that stands for a name
//! ```
//!
//! The socket of a program comes as a duplicate with its question; [`steer_kernel::takeover`] joins
//! it to the engine. What the program waits for meanwhile, its answer tells.
#![forbid(unsafe_code)]

#[path = "../shim/wire.rs"]
#[allow(dead_code, reason = "each end says one half and reads the other")]
mod wire;
#[cfg(test)]
mod wire_tests;

mod library;
mod profile;

mod address;
mod answer;
mod call;
mod engine;
mod holder;
mod intake;
mod line;
mod names;
mod scope;

mod preload;
mod probe;

pub use preload::Preload;
