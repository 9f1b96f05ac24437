//! What a connection costs while nothing moves. Alone in its process, because it counts what the
//! process holds.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::net::Ipv4Addr;
use std::time::Duration;

use steer_proxy::relay::{Relay, Traffic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dial = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dial, listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

/// Descriptors of this process, by whether they are sockets, pipes or anything else.
fn descriptors() -> (usize, usize) {
    let links = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let names: Vec<_> = links
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
    (count("socket:"), count("pipe:"))
}

#[tokio::test]
async fn a_connection_that_was_bulk_and_is_idle_holds_two_sockets_and_no_pipe_of_its_own() {
    const LINES: usize = 60;
    const BULK: usize = 4 << 20;
    let (sockets_before, pipes_before) = descriptors();
    let mut ends = Vec::new();
    for _ in 0..LINES {
        let ((program, client), (upstream, server)) = (connected().await, connected().await);
        tokio::spawn(async move {
            let traffic = Traffic::default();
            Relay::new(client, upstream, &traffic).await
        });
        ends.push((program, server));
    }
    for (program, server) in &mut ends {
        let sent = vec![7; BULK];
        let mut got = vec![0; BULK];
        let moved = async { tokio::join!(program.write_all(&sent), server.read_exact(&mut got)) };
        let (sent, got) = timeout(Duration::from_secs(20), moved).await.unwrap();
        sent.unwrap();
        got.unwrap();
    }
    let (sockets, pipes) = descriptors();
    assert_eq!(
        sockets - sockets_before,
        4 * LINES,
        "two of the relay and two of the test each"
    );
    // One direction was bulk at a time, so one pipe, with two ends, served all of them.
    assert_eq!(pipes - pipes_before, 2);
}
