//! Messages of every kind, good and bad.

mod codec;
mod oracle;
mod support;
