//! Resets, and segments of no connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;
use steer_core::address::Family;

use crate::engine::{DIGEST, ECHO, RESET};
use crate::stand::{Link, Stand, at, wait_until};

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

/// How long a segment may take within one machine.
const PATIENCE: Duration = Duration::from_secs(20);
