//! HTTP for proxies: what is not changed arrives as it was sent.
//!
//! ```text
//! client ─> http1 | http2 ─> Request ─> Gateway (decide, change) ─> way ─> http1 | http2 ─> server
//!           <── Response <── Gateway (change) <──────────────────────────────┘
//! ```
//!
//! A session speaks the same version on both sides. Of HTTP/1 every byte that nobody changed is
//! forwarded as it came: order, case and spaces of fields, the framing of bodies, trailers.
#![forbid(unsafe_code)]

mod date;
pub mod error;
pub mod fields;
pub mod gateway;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod message;

pub use error::{Malformed, SessionError, Stage};
pub use fields::Fields;
pub use gateway::{Connected, End, Gateway, Refused, Verdict};
pub use limits::Limits;
pub use message::{Request, Response, Version};
