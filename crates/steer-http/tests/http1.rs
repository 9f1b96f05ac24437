//! Sessions of HTTP/1 over streams in memory, with scripted servers behind them.
#[path = "http1/cuts.rs"]
mod cuts;
#[path = "http1/forwarding.rs"]
mod forwarding;
#[path = "http1/heads.rs"]
mod heads;
#[path = "http1/identity.rs"]
mod identity;
#[path = "http1/lab.rs"]
mod lab;
#[path = "http1/refusals.rs"]
mod refusals;
#[path = "http1/trouble.rs"]
mod trouble;
#[path = "http1/turns.rs"]
mod turns;
