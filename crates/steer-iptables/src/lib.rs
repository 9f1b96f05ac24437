//! Steering by netfilter: nat REDIRECT and mangle TPROXY.
//!
//! ```text
//! Intent ─> profile (what can be honoured) ─> plan ────────────────> drivers
//! Host ───> requirements ────────────────────┘ rules of the method     │ kernel
//!                         Steered <─ intake <─ origin (SO_ORIGINAL_DST, <┘
//!                                             conntrack, getsockname)
//! ```
//!
//! Whose packets, which of them, and what is refused is told by `steer-rules`. The two methods have
//! the same files: what differs between them is what differs between the methods. The intake of
//! `tproxy` is that of every transparent listener (`steer_core::transparent`).
#![forbid(unsafe_code)]

pub mod embed;
pub mod redirect;
pub mod tproxy;

pub use embed::{host, keeper};
pub use redirect::Redirect;
pub use tproxy::Tproxy;
