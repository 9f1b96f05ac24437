//! Messages of every kind, good and bad.

mod codec;
mod conversation;
mod oracle;
mod support;
