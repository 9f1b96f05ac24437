//! How fast it is: to be run by hand, as `cargo test -p steer-tun --release --test path -- --ignored
//! --nocapture speed`.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use steer_core::address::Family;

use crate::engine::{FLOOD, SINK};
use crate::stand::{Link, Stand, at};

#[test]
#[ignore = "a figure, and no statement"]
fn speed() {
    lab::require!(Root, Path("/dev/net/tun"));
    let direct = direct();
    eprintln!("direct: {direct:.1} Gbit/s");
    for link in Link::ALL {
        let stand = Stand::new(link, 1500);
        for family in Family::ALL {
            for (way, port) in [("up", SINK), ("down", FLOOD)] {
                let speed = stand.app.enter(|| speed_to(at(family, port)));
                eprintln!("{link:?} {family} {way}: {speed:.1} Gbit/s");
            }
        }
    }
}

/// Through `lo`, to a thread that does nothing but read.
fn direct() -> f64 {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut room = vec![0; 128 << 10];
        while stream.read(&mut room).unwrap() > 0 {}
    });
    speed_to(address)
}

/// How many bits a nanosecond go to a server, or come from it.
fn speed_to(server: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(server).unwrap();
    setsockopt(&stream, sockopt::TcpCongestion, &OsString::from("reno")).unwrap();
    let (mut room, mut bytes) = (vec![0; 128 << 10], 0);
    let begin = Instant::now();
    while begin.elapsed() < TIME {
        bytes += match server.port() {
            FLOOD => stream.read(&mut room).unwrap(),
            _ => stream.write(&room).unwrap(),
        };
    }
    bytes as f64 * 8.0 / begin.elapsed().as_nanos() as f64
}

/// How long each is measured.
const TIME: Duration = Duration::from_secs(3);
