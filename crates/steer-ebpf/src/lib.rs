//! Steering in the socket layer: eBPF programs send what a program connects to the engine.
//!
//! ```text
//!  Intent ─> profile (what can be honoured) ─> plan (requirements, notes)
//!  plan ─ Hooks, Lookup ─> driver ─┬─ filter      what the maps shall hold (pure)
//!                                  ├─ btf         where this kernel keeps what programs read
//!                                  ├─ load        object ─> programs and maps, or the verifier's word
//!                                  ├─ generation  a filter in place of another one, at once
//!                                  ├─ attach      programs at cgroups and namespaces
//!                                  └─ standing    what a crash left attached
//!  Steered <─ intake <─ tokens: the original destination, and who asked for it
//! ```

pub mod abi;
mod attach;
mod btf;
pub mod driver;
pub mod error;
pub mod filter;
mod generation;
mod intake;
mod load;
mod maps;
mod method;
mod notes;
mod object;
mod plan;
mod probe;
mod profile;
mod requirements;
mod standing;
mod sys;

pub use driver::EbpfDriver;
pub use method::Ebpf;
