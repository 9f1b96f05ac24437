//! What upstreams can be: chained, in TLS, told of the client, many, bounded.
mod chains;
mod endpoints;
mod sealed;
mod stage;
mod told;
