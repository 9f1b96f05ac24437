//! TLS for proxies: a local certificate authority, connections that are opened with its
//! certificates, and servers whose certificates are verified.
//!
//! ```text
//! client ─ TLS, leaf of the Authority ─> Interceptor ─ plain ─> … ─> Connector ─ TLS, verified ─> server
//! ```
#![forbid(unsafe_code)]
