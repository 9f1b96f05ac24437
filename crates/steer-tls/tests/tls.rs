//! The authority, the interceptor and the connector against clients and servers of others.
#![allow(clippy::unwrap_used)] // helpers of tests that are no tests themselves

#[path = "tls/common.rs"]
mod common;
#[path = "tls/connector.rs"]
mod connector;
#[path = "tls/interceptor.rs"]
mod interceptor;
#[path = "tls/leaf.rs"]
mod leaf;
