//! DNS messages as bytes and as values (RFC 1035, 6891, 9460), without input or output.
//!
//! Reading never panics, and what it makes of a message is bounded by the message's own size.

mod data;
mod edns;
mod header;
mod layout;
mod malformed;
mod message;
mod name;
mod question;
mod record;
mod svcb;
mod wire;

pub use data::Data;
pub use edns::{Edns, EdnsOption};
pub use header::{Header, OpCode, ResponseCode};
pub use malformed::Malformed;
pub use message::Message;
pub use name::Name;
pub use question::{Class, Kind, Question};
pub use record::Record;
pub use svcb::{Param, Svcb};
