//! Sessions of HTTP/1 over streams in memory, with scripted servers behind them.
#[path = "http1/forwarding.rs"]
mod forwarding;
#[path = "http1/lab.rs"]
mod lab;
