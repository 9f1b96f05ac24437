//! DNS in steering.
//!
//! ```text
//! bytes ─> codec
//! ```
#![forbid(unsafe_code)]

pub mod codec;
