//! Connections whose requests are looked at.
//!
//! ```text
//! client ─ Counted ─ (TLS) ─> session of steer-http ─> Desk ─┬─ handlers, rules, values, edits
//!                                            │                        ├─ guard: where a secret may go
//!                                            └<─ Outer <─ (TLS) <─────┴─ dial
//! ```
mod asked;
mod desk;
mod dial;
mod ended;
mod guard;
mod leg;
mod means;
mod seen;
mod session;
mod way;

pub(super) use desk::Desk;
pub(super) use guard::{Guarded, name_of};
pub(super) use leg::Counted;
pub(super) use means::Means;
pub(super) use seen::Seen;
pub(super) use session::{Spoken, serve};
