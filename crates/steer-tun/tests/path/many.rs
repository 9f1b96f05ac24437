//! Many connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use steer_core::address::Family;

use crate::engine::ECHO;
use crate::stand::{Link, Stand, at};

fn exchange(family: Family, number: u32) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at(family, ECHO))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(&number.to_be_bytes())?;
    let mut back = [0; 4];
    stream.read_exact(&mut back)?;
    assert_eq!(back, number.to_be_bytes());
    Ok(())
}

#[test]
fn ten_thousand_connections_one_after_another_all_arrive() {
    lab::require!(Root, Path("/dev/net/tun"));
    let stand = Stand::new(Link::One, 1500);
    stand.app.enter(|| {
        for number in 0..10_000_u32 {
            let family = Family::ALL[(number % 2) as usize];
            exchange(family, number).unwrap_or_else(|error| panic!("{number}: {error}"));
        }
    });
    assert_eq!(stand.engine.seen(|seen| seen.ends.len()), 10_000);
}

#[test]
fn two_thousand_connections_at_once_all_arrive() {
    lab::require!(Root, Path("/dev/net/tun"));
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let stand = Stand::with_queues(Link::One, 1500, 2);
    let streams: Vec<TcpStream> = stand.app.enter(|| {
        let connect =
            |number: usize| TcpStream::connect(at(Family::ALL[number % 2], ECHO)).unwrap();
        (0..2000).map(connect).collect()
    });
    for (number, mut stream) in streams.iter().enumerate() {
        stream.write_all(&number.to_be_bytes()).unwrap();
    }
    for (number, mut stream) in streams.iter().enumerate() {
        let mut back = [0; 8];
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, number.to_be_bytes());
    }
    assert_eq!(stand.engine.seen(|seen| seen.ends.len()), 2000);
}
