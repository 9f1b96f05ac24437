//! DNS: questions and answers byte by byte, a server that answers as a test says, and a real one.

mod message;
mod resolver;
mod server;

pub use message::{DnsQuery, DnsReply, Kind, Record};
pub use resolver::Resolver;
pub use server::{DnsServer, Transport};
