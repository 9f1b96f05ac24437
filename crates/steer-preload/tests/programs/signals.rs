//! Signals while a program connects.

use lab::require;
use steer_core::intent::{Loopback, Relay};

use crate::c;
use crate::engine::{Engine, said};

#[tokio::test]
async fn a_storm_of_signals_takes_no_connection_away() {
    require!(Program("gcc"));
    let program = c::built("signals", include_str!("signals.c"));
    for relay in [Relay::Always, Relay::Needed] {
        let engine = Engine::start(|intent| {
            intent.traffic.loopback = Some(Loopback::Steer);
            intent.relay = Some(relay);
        })
        .await;
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let mut command = engine.command(program.path());
        let out = said(command.arg(&port)).await;
        assert_eq!(out.trim(), "100 made", "{relay:?}");
    }
}
