//! The only door to the host: what is there, what is put in force, and who undoes it.
//!
//! ```text
//!            host::observe ──> Host ──> (a method's plan)
//!                                             │ Job
//!  engine ── keeper::spawn ══ socket ══> LocalKeeper ── journal  (before and after each change)
//!    │                                        │
//!    │                                     Drivers ─┬─ cgroup
//!    └── child::Spawner ──> command                 ├─ device, route
//!            │                                      ├─ nft        each: set, observe, remove
//!            │ enters                               └─ iptables
//!  engine ── confine::spawn ══ socket ══> holder of namespaces ── nft, listeners, sockets inside
//! ```
//!
//! A program that embeds the keeper process, or the holder, calls [`keeper::entry`] first in
//! `main`, since these are that program again. Tests without privileges use [`fake::FakeHost`] in
//! place of the drivers.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod child;
pub mod confine;
pub mod conntrack;
pub mod device;
pub mod drivers;
pub mod fake;
pub mod host;
pub mod iptables;
pub mod journal;
pub mod keeper;
mod netlink;
pub mod netns;
pub mod nft;
pub mod route;
pub mod seccomp;
pub mod sock_diag;
mod sys;
pub mod takeover;
pub mod witness;
