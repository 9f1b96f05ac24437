//! Resets, and segments of no connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use steer_core::address::Family;

use crate::engine::{DIGEST, ECHO, FLOOD, RESET};
use crate::stand::{Link, Stand, at, client, wait_until};

#[test]
fn a_reset_arrives_as_one_in_both_directions() {
    lab::require!(Root, Path("/dev/net/tun"));
    for link in Link::ALL {
        let stand = Stand::new(link, 1500);
        for (round, family) in Family::ALL.into_iter().enumerate() {
            // From the server.
            let error = stand.app.enter(|| {
                // It may come before the connect has returned.
                let mut stream = match TcpStream::connect(at(family, RESET)) {
                    Ok(stream) => stream,
                    Err(error) => return error.kind(),
                };
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.read(&mut [0; 1]).unwrap_err().kind()
            });
            assert_eq!(error, ErrorKind::ConnectionReset, "{link:?} {family}");
            // From the client.
            stand.app.enter(|| {
                let mut stream = TcpStream::connect(at(family, DIGEST)).unwrap();
                stream.write_all(b"half of").unwrap();
                let linger = Some(Duration::ZERO);
                SockRef::from(&stream).set_linger(linger).unwrap();
            });
            wait_until("the server sees the reset", || {
                stand.engine.seen(|seen| seen.broken.len() > round)
            });
            let broken = stand.engine.seen(|seen| seen.broken[round].clone());
            assert!(broken.contains("reset"), "{link:?} {broken}");
        }
    }
}

#[test]
fn a_connection_that_the_engine_does_not_know_is_reset() {
    lab::require!(Root, Path("/dev/net/tun"));
    let mut stand = Stand::new(Link::One, 1500);
    let mut stream = stand.app.enter(|| {
        let mut stream = TcpStream::connect(at(Family::V4, ECHO)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream
    });
    stand.begin_again();
    stream.write_all(b"still there?").unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(error, ErrorKind::ConnectionReset);
}

#[test]
fn a_port_that_is_used_again_right_after_a_reset_always_connects() {
    lab::require!(Root, Path("/dev/net/tun"));
    for (link, queues) in [(Link::One, 1), (Link::One, 2), (Link::Tap, 1)] {
        let stand = Stand::with_queues(link, 1500, queues);
        for family in Family::ALL {
            let from = SocketAddr::new(client(family), 45_000);
            for (server, asked) in [(FLOOD, ""), (ECHO, "what comes back")] {
                for round in 0..300 {
                    let case = format!("{link:?} {queues} {from} {server} {round}");
                    let done = stand.app.enter(|| once(from, at(family, server), asked));
                    done.unwrap_or_else(|error| panic!("{case}: {error}"));
                }
            }
        }
    }
}

/// Connects, has one answer, and resets while there may be more of it.
fn once(from: SocketAddr, to: SocketAddr, asked: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&from.into())?;
    // A program that another test starts has a copy of the last round's socket until it runs.
    let mut connected = socket.connect_timeout(&to.into(), PATIENCE);
    wait_until("the last one is closed", || {
        let is_held = |error: &io::Error| error.kind() == ErrorKind::AddrNotAvailable;
        let is_held = connected.as_ref().is_err_and(is_held);
        if is_held {
            connected = socket.connect_timeout(&to.into(), PATIENCE);
        }
        !is_held
    });
    connected?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(asked.as_bytes())?;
    match stream.read(&mut [0; 100])? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// How long a segment may take within one machine.
const PATIENCE: Duration = Duration::from_secs(20);
