//! Steering by packets: the methods `tun` and `tap`.
//!
//! ```text
//! program ─> route ─> device ─> port ─> path ─┬─ TCP ── flows (addresses rewritten) ─> the kernel's own
//!                                 │           │                        stack, listener ─> intake ─> Steered
//!            segment (ARP, ND, DHCP; tap)     ├─ UDP ── datagrams ──────────────────────> intake ─> Steered
//!                                             ├─ ICMP ─ echo, errors
//!                                             └─ fragments, what is refused (counters)
//! ```
//!
//! There is no TCP of ours: a packet's addresses are rewritten in place, and it is written back as one
//! that comes from a made-up client to the engine's listener. The kernel's own TCP does the rest, with
//! offloads, as fast as anywhere else.
#![deny(unsafe_code)]

mod drivers;
pub mod flows;
pub mod fragments;
pub mod icmp;
pub mod intake;
mod notes;
pub mod out;
pub mod packet;
pub mod path;
mod plan;
pub mod port;
mod probe;
mod profile;
mod requirements;
pub mod segment;
mod sys;
mod tap;
mod tun;
pub mod udp;
pub mod wire;

pub use tap::Tap;
pub use tun::Tun;
